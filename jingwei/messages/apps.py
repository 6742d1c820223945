from django.apps import AppConfig


class MessagesConfig(AppConfig):
    name = "jingwei.messages"
    label = "sms"  # "messages" is Django's own
    verbose_name = "短信"
    default_auto_field = "django.db.models.BigAutoField"

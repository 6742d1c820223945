from django.apps import AppConfig


class MessagesConfig(AppConfig):
    name = "jingwei.messages"
    label = "sms"  # "messages" is Django's own
    verbose_name = "短信"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        """Refuse to start with a gateway's address that cannot be right."""
        from jingwei.messages.delivery import chosen_gateway  # models are ready only now

        chosen_gateway()

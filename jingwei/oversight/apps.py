from django.apps import AppConfig


class OversightConfig(AppConfig):
    name = "jingwei.oversight"
    label = "oversight"
    verbose_name = "安全与审计"
    default_auto_field = "django.db.models.BigAutoField"

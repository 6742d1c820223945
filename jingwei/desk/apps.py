from django.apps import AppConfig


class DeskConfig(AppConfig):
    name = "jingwei.desk"
    label = "desk"
    verbose_name = "工作台"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        from jingwei.desk import checks  # noqa: F401 their registration

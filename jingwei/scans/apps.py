from django.apps import AppConfig


class ScansConfig(AppConfig):
    name = "jingwei.scans"
    label = "scans"
    verbose_name = "扫码进场"
    default_auto_field = "django.db.models.BigAutoField"

from django.apps import AppConfig


class BaseConfig(AppConfig):
    name = "jingwei.base"
    label = "base"
    verbose_name = "公共基础"
    default_auto_field = "django.db.models.BigAutoField"

from django.apps import AppConfig


class TestingConfig(AppConfig):
    name = "jingwei.testing"
    label = "testing"
    verbose_name = "检测"
    default_auto_field = "django.db.models.BigAutoField"

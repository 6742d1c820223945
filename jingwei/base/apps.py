from django.apps import AppConfig


class BaseConfig(AppConfig):
    name = "jingwei.base"
    label = "base"
    verbose_name = "公共基础"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        """No process starts on a cryptographic library that gives wrong answers (P-4.7)."""
        from jingwei.base.crypto import self_test

        self_test()

from django.apps import AppConfig


class DirectoryConfig(AppConfig):
    name = "jingwei.directory"
    label = "directory"
    verbose_name = "组织目录"
    default_auto_field = "django.db.models.BigAutoField"

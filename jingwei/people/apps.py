from django.apps import AppConfig


class PeopleConfig(AppConfig):
    name = "jingwei.people"
    label = "people"
    verbose_name = "常住人口"
    default_auto_field = "django.db.models.BigAutoField"

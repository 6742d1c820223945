from django.apps import AppConfig


class PlacesConfig(AppConfig):
    name = "jingwei.places"
    label = "places"
    verbose_name = "场所"
    default_auto_field = "django.db.models.BigAutoField"

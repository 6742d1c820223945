"""What the form of a venue has besides plain fields: its position, chosen on a map (KP-1.2)."""

from django import forms
from django.forms.widgets import Script

from jingwei.kit.coordinates import SYSTEMS
from jingwei.places.models import Venue

ON_THE_MAP = "venue-map.view"  # who may look at the map of the venues may use one to enter a position
KNOWN_FROM = dict(zip(SYSTEMS, ("GPS、天地图", "高德、腾讯地图", "百度地图"), strict=True))


class PositionInput(forms.NumberInput):
    """The latitude, with a map that fills in both sides; without scripts the number alone."""

    template_name = "places/widgets/position.html"

    class Media:
        css = {"all": ["vendor/maplibre/maplibre-gl.css", "css/map.css"]}
        js = [Script("js/position.js", type="module")]

    def get_context(self, name, value, attrs):
        return super().get_context(name, value, attrs) | {"systems": KNOWN_FROM.items()}


def longitude_field(actor):
    return _degrees("longitude", forms.NumberInput)


def latitude_field(actor):
    return _degrees("latitude", PositionInput if actor.may(ON_THE_MAP) else forms.NumberInput)


def _degrees(name, widget):
    field = Venue._meta.get_field(name).formfield(
        widget=widget(attrs={"step": "any", "inputmode": "decimal"})
    )
    field.help_text = "WGS-84 坐标，单位为度"
    return field

"""The venues on a map, coloured by their alerts, with a card of each (KP-1.2, KP-6)."""

from datetime import timedelta

import numpy as np
from django.http import JsonResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_GET

from jingwei.base import codes
from jingwei.base.resource import Page
from jingwei.desk import basemap
from jingwei.places.models import Venue
from jingwei.scans.models import Alert
from jingwei.scans.queries import days_of

PERMISSION = "venue-map.view"
RECENT = 30  # days for which a received alert still marks its venue
DAYS = 7  # on a card
HEIGHT = 40  # of the bar of the day with the most scans

# What marks a venue, the most urgent last; the number is what the browser gets.
UNHELD, FINE, RECEIVED, OPEN = range(4)
STATES = {OPEN: "预警未接收", RECEIVED: f"近 {RECENT} 天预警已接收", FINE: "无预警", UNHELD: "未设阈值"}


def _venues(actor):
    return Venue.objects.visible_to(actor, PERMISSION).filter(archived=False)


def _alerts(actor):
    return Alert.objects.visible_to(actor, "alerts.view").filter(withdrawn_at=None).order_by("-last_day")


@require_GET
def venue_map(request):
    """The map with its filters; the venues themselves come as JSON."""
    venues = _venues(request.actor)
    streets = venues.exclude(street="").order_by("street").values_list("street", flat=True).distinct()
    context = {
        "kinds": codes.choices("场所类别"),
        "streets": streets,
        "states": [(str(state), label) for state, label in STATES.items()],
        "unplaced": venues.filter(longitude=None).count(),
        "may_place": request.actor.may("venues.change"),
    }
    return render(request, "scans/venue_map.html", context)


@require_GET
def venues_json(request):
    """{"venues": [[id, longitude, latitude, name, kind, street, state]]} of all that have a position."""
    alerts = _alerts(request.actor)
    known_since = timezone.localdate() - timedelta(days=RECENT)
    marks = dict.fromkeys(alerts.filter(last_day__gte=known_since).values_list("venue", flat=True), RECEIVED)
    marks |= dict.fromkeys(alerts.filter(received_at=None).values_list("venue", flat=True), OPEN)
    held = ("threshold_min", "threshold_max")
    rows = _venues(request.actor).filter(longitude__isnull=False, latitude__isnull=False).order_by("pk")
    rows = list(rows.values_list("pk", "longitude", "latitude", "name", "kind", "street", *held))
    places = np.array([row[1:3] for row in rows], float).reshape(-1, 2)
    shown = np.stack(basemap.on_map(*places.T), axis=1).tolist()
    venues = [
        [pk, *place, *of_it, marks.get(pk, UNHELD if low is None and high is None else FINE)]
        for place, (pk, _, _, *of_it, low, high) in zip(shown, rows, strict=True)
    ]
    return JsonResponse(
        {"venues": venues}, json_dumps_params={"ensure_ascii": False, "separators": (",", ":")}
    )


@require_GET
def venue_card(request, pk):
    """What the map says of one venue: regulator, threshold, the latest days, alerts still to be received."""
    actor = request.actor
    venue = get_object_or_404(_venues(actor).select_related("regulator"), pk=pk)
    context = {
        "venue": venue,
        "alerts": _alerts(actor).filter(venue=venue, received_at=None),
        "record": next((name for name in ("venues", "thresholds") if actor.may(f"{name}.view")), ""),
    }
    if actor.may("scan-statistics.view"):
        yesterday = timezone.localdate() - timedelta(days=1)
        days = days_of(venue, yesterday - timedelta(days=DAYS - 1), yesterday)
        most = max(1, *(day.count for day in days))
        heights = [2 + round(HEIGHT * day.count / most) for day in days]  # a day without scans shows, too
        context["bars"] = [
            (day, n * 20, HEIGHT + 2 - height, height)
            for n, (day, height) in enumerate(zip(days, heights, strict=True))
        ]
        context["yesterday"] = days[-1]
    return render(request, "scans/venue_card.html", context)


# The order gives the addresses their names, "venue-map-1" being the base map.
PAGES = [
    Page(
        "venue-map",
        "场所地图",
        PERMISSION,
        [
            ("", venue_map),
            ("basemap.json", basemap.basemap),
            ("position.json", basemap.position),
            ("venues.json", venues_json),
            ("<int:pk>/", venue_card),
        ],
        "map",
    )
]

"""Which data come from a front database now, and are therefore closed to the hand (P-8.4, KP-8.2)."""

from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db.models import F, Q
from django.utils import timezone

from jingwei.base.parameters import Parameter
from jingwei.base.sheets import Sheet
from jingwei.exchange.models import FrontFeed

INTERVAL = Parameter(
    "front.minutes", "前置库取数间隔", 5, "每隔多少分钟从前置库取一次数", "分钟", low=1, high=1440
)


def why_closed(sheet: str) -> str:
    """Why rows of this kind of sheet are neither imported nor deleted by hand now, "" where they are."""
    feed = FrontFeed.objects.filter(sheet=sheet, enabled=True).select_related("source").first()
    if feed is None:
        return ""
    return (
        f"这类数据正从前置库“{feed.source}”自动取得，手工导入和删除已关闭；"
        "确需手工办理，请运维单位先在“前置库取数”中停用"
    )


def require_open(sheet: str):
    """ValidationError while rows of this kind of sheet come from a front database."""
    if reason := why_closed(sheet):
        raise ValidationError(reason)


def due_feeds():
    """The feeds whose turn it is, those first that have waited longest."""
    # The clock starts jobs at a full minute, now and then a moment early.
    before = timezone.now() - timedelta(minutes=INTERVAL.value()) + timedelta(seconds=15)
    feeds = FrontFeed.objects.filter(Q(begun_at=None) | Q(begun_at__lte=before), enabled=True)
    return feeds.order_by(F("begun_at").asc(nulls_first=True))


def pulled_sheets() -> dict[str, Sheet]:
    """The kinds of sheet whose rows a front database may bring, by name."""
    from jingwei import menu  # its pages import this module

    return {name: sheet for name, sheet in menu.sheets().items() if sheet.pulled}


def label_of(sheet: str) -> str:
    """What a kind of sheet is called."""
    known = pulled_sheets().get(sheet)
    return known.label if known else sheet

"""What public places keep of the people responsible for them (SEC-17)."""

from jingwei.base.parameters import Parameter
from jingwei.base.personal import Columns, Kept, Stays
from jingwei.places.models import (
    ChangedDay,
    ChangedVenue,
    Venue,
    VenueDay,
    VenueMonth,
    VenueThreshold,
)

HISTORY_DAYS = Parameter(
    "places.keep_history",
    "公共场所历史保存天数",
    1095,
    "公共场所被修改或删除前的内容多少天后删除",
    "天",
    low=180,
    high=3650,
)
PARAMETERS = [HISTORY_DAYS]

COLUMNS = [
    Columns(
        Venue,
        purpose="联系公共场所及其监管单位的负责人",
        basis="岗位职责",
        keep="场所登记期间",
        names=["manager", "regulator_head"],
        plain=[
            *("code", "name", "kind", "city", "street", "position", "longitude", "latitude"),
            *("threshold_min", "threshold_max", "archived"),
        ],
    )
]
NOBODYS = [VenueThreshold, VenueDay, VenueMonth, ChangedVenue, ChangedDay]

VenueEvent = Venue._meta.get_field("events").related_model
KEPT = [Kept("venue-history", "公共场所的历史", VenueEvent, "pgh_created_at", HISTORY_DAYS)]
HELD = []
STAYS = [
    Stays(
        Venue,
        "监管单位负责人的联系电话是岗位联系方式，换人时由监管单位修改",
        sealed=["regulator_phone"],
    ),
    Stays(VenueEvent, "场所历史中的负责人电话同上，按保存期限删除", sealed=["regulator_phone"]),
]

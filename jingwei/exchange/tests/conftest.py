"""Front databases with tables as a province has them, and feeds that read these."""

import pytest
from django.conf import settings

from jingwei.exchange.actions import save_columns, set_password
from jingwei.exchange.models import FrontFeed, FrontSource
from jingwei.exchange.tests import databases

SCANS = {
    "cs_id": ("varchar(60)", "公共场所ID"),
    "cs_mc": ("varchar(200)", "公共场所"),
    "jd": ("varchar(60)", "所在街道"),
    "sfzh": ("varchar(30)", "被采集人身份证"),
    "xm": ("varchar(60)", "被采集人"),
    "dh": ("varchar(30)", "联系电话"),
    "jg": ("char(10)", "采集结果"),
    "hs_sj": ("{moment}", "核酸结果时间"),
    "cj_sj": ("varchar(40)", "采集时间"),
    "xh": ("{number}", "序号"),
    "gx_sj": ("{moment}", "更新时间"),
}
VENUES = {
    "code": ("varchar(60)", ""),
    "场所名称": ("varchar(200)", ""),
    "street": ("varchar(60)", "街道"),
    "jgdw": ("varchar(60)", "监管单位"),
    "fzrdh": ("varchar(30)", "负责人手机号"),
    "gx_sj": ("{moment}", "更新时间"),
}


@pytest.fixture(scope="session")
def postgres_front(django_db_setup):
    with databases.postgres(settings.JINGWEI_HOME) as front:
        yield front


@pytest.fixture(scope="session")
def maria_front():
    with databases.maria() as front:
        yield front


@pytest.fixture(params=["postgres_front", "maria_front"])
def front(request):
    """Each of the two, with empty tables `scans` and `venues`."""
    front = request.getfixturevalue(request.param)
    front.door.open()
    for table, columns in (("scans", SCANS), ("venues", VENUES)):
        front.drop(table)
        kinds = {"moment": front.moment, "number": front.number}
        front.create(table, **{name: (kind.format(**kinds), c) for name, (kind, c) in columns.items()})
    return front


@pytest.fixture
def source(front, sysadmin):
    source = FrontSource.objects.create(name="省场所码前置库", **front.source)
    set_password(sysadmin.actor, source, password=databases.PASSWORD)
    return source


@pytest.fixture
def feed(source, venueops):
    """A function that makes a feed of a table and switches it on."""
    columns = {
        "scans": {
            **{"venue_code": "cs_id", "venue_name": "cs_mc", "street": "jd", "number": "sfzh", "name": "xm"},
            **{"phone": "dh", "result": "jg", "tested_at": "hs_sj", "collected_at": "cj_sj"},
        },
        "venues": {
            **{"code": "code", "name": "场所名称", "street": "street", "regulator": "jgdw"},
            "regulator_phone": "fzrdh",
        },
    }

    def make(sheet, mark="gx_sj", **values):
        made = FrontFeed.objects.create(sheet=sheet, source=source, table=sheet, **values)
        save_columns(venueops.actor, made, columns=columns[sheet], mark=mark)
        FrontFeed.objects.filter(pk=made.pk).update(enabled=True)
        made.refresh_from_db()
        return made

    return make

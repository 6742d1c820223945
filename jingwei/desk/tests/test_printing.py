"""What is printed stands in the operation log (SEC-8)."""

import pytest

from jingwei.base.models import LogEntry
from jingwei.people.samples import person

pytestmark = [pytest.mark.django_db, pytest.mark.req("SEC-8", "P-3.1")]


def test_printing_a_record_or_a_list_is_logged(village):
    someone = person()
    page = village.client.get(f"/people/{someone.pk}/").content.decode()
    assert f'data-printed="/people/{someone.pk}/printed/"' in page
    assert village.client.post(f"/people/{someone.pk}/printed/").status_code == 204
    assert 'data-printed="/people/printed/"' in village.client.get("/people/").content.decode()
    assert village.client.post("/people/printed/").status_code == 204
    entries = LogEntry.objects.filter(act="打印", operator=village.operator.pk).order_by("pk")
    told = entries.values_list("resource", "object_id", "label", "result")
    assert list(told) == [
        ("people", str(someone.pk), someone.name, "成功"),
        ("people", "", "人员信息列表", "成功"),
    ]
    assert (
        "打印" not in village.client.get(f"/people/{someone.pk}/").content.decode().partition("变更记录")[2]
    )


@pytest.mark.req("SEC-7")
def test_nobody_prints_what_is_not_shown_to_them(othertown, nobody):
    someone = person()
    assert othertown.client.post(f"/people/{someone.pk}/printed/").status_code == 404
    assert nobody.client.post("/people/printed/").status_code == 403
    assert not LogEntry.objects.filter(act="打印").exists()

"""The demonstration district as it is set up."""

import stat

import pytest
from django.conf import settings

from jingwei.base.models import Code
from jingwei.directory import setup
from jingwei.directory.models import KnownPermission, Operator, Organisation, Region, Role

pytestmark = pytest.mark.django_db


@pytest.mark.req("P-1.1", "P-10.1")
def test_the_tree_of_the_district_is_shipped():
    assert Region.objects.count() == 273
    village = Region.objects.get(code="990101001001")
    assert (village.name, village.level, village.parent_id) == ("上埔社区", "社区村", "990101001")


@pytest.mark.req("P-1.2", "CL-1.1")
def test_every_region_of_the_district_has_its_organisation():
    village = Organisation.objects.get(region="990101001001")
    assert village.path.startswith(village.parent.path)
    assert village.parent.parent.region_id == "990101"
    assert not Region.objects.filter(code__startswith="990101", organisation=None).exists()


@pytest.mark.req("P-6.1")
def test_the_national_dictionaries_are_filled():
    assert Code.objects.filter(kind="民族").count() == 58
    assert Code.objects.get(kind="性别", value="2").label == "女"
    assert Code.objects.get(kind="证件类型", label="居民身份证").value == "111"


@pytest.mark.req("P-10.1")
def test_setting_up_again_changes_nothing():
    Role.objects.filter(name="领导查阅").update(permissions=[])
    Role.objects.filter(name="场所运维").delete()
    Code.objects.filter(kind="届别", value="1").update(label="首届")
    before = list(Operator.objects.values_list("login", "password"))
    setup.ensure_base()
    assert Role.objects.get(name="领导查阅").permissions == []
    assert not Role.objects.filter(name="场所运维").exists()
    assert Code.objects.get(kind="届别", value="1").label == "首届"
    assert list(Operator.objects.values_list("login", "password")) == before


@pytest.mark.req("P-1.5", "P-10.1")
def test_a_permission_the_platform_gained_is_offered_to_the_shipped_roles_once():
    gained = KnownPermission.objects.filter(name="people.export")
    gained.delete()
    for name, permissions in [("村社区操作员", ["people.view"]), ("区级操作员", ["logs.view"])]:
        Role.objects.filter(name=name).update(permissions=permissions)
    setup.ensure_roles()
    assert Role.objects.get(name="村社区操作员").permissions == ["people.view", "people.export"]
    assert Role.objects.get(name="区级操作员").permissions == ["logs.view"], "auditors see no business"
    Role.objects.filter(name="村社区操作员").update(permissions=["people.view"])
    setup.ensure_roles()
    assert Role.objects.get(name="村社区操作员").permissions == ["people.view"]


@pytest.mark.req("P-10.1", "SEC-5")
def test_the_logins_are_told_in_a_file_nobody_else_reads():
    path = settings.JINGWEI_HOME / "demo-logins.txt"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    told = dict(line.split("\t")[:2] for line in path.read_text().splitlines() if not line.startswith("#"))
    assert set(told) == {persona.login for persona in setup.PERSONAS}
    assert len(set(told.values())) == len(told)
    assert Operator.objects.get(login_key="village").check_password(told["village"])


@pytest.mark.req("P-1.6", "CL-2.1")
def test_each_operator_reaches_the_own_territory(district, town, village, othertown, nobody):
    assert [p.actor.data_scope("people.view").regions for p in (district, town, village, othertown)] == [
        {"990101"},
        {"990101001"},
        {"990101001001"},
        {"990101002"},
    ]
    assert not nobody.actor.grants


@pytest.mark.req("P-1.8", "SEC-6")
def test_no_administrator_sees_business_and_no_account_is_unlimited(sysadmin, secadmin, auditadmin):
    for persona in (sysadmin, secadmin, auditadmin):
        assert not any(p.startswith(("people.", "doses.", "samples.")) for p in persona.actor.grants)
    for operator in Operator.objects.select_related("organisation"):
        assert len({a["reach"] for held in operator.appointments_in_force for a in held.held_roles}) <= 1
    assert sysadmin.actor.may("parameters.change") and not secadmin.actor.may("parameters.change")
    assert secadmin.actor.may("appointments.add") and not sysadmin.actor.may("appointments.add")
    assert auditadmin.actor.may("logs.view") and not sysadmin.actor.may("logs.view")

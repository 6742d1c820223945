"""Whose rows a role reaches, in every kind of data scope (P-1.6)."""

import pytest

from jingwei.base.access import EVERYTHING, NO_SCOPE, DataScope
from jingwei.directory.models import Department, Operator, Organisation, Region, Role

pytestmark = pytest.mark.django_db


@pytest.fixture
def departments(district):
    """Departments: 甲 of the district office, 乙 of one below, 丙 of a village, 丁 of another district."""
    office = district.operator.organisation
    below = Organisation.objects.filter(parent=office).order_by("pk").first()
    village = Organisation.objects.get(region="990101001001")
    other = Region.objects.create(code="990102", name="邻区", parent_id="9901")
    elsewhere = Organisation.objects.create(name="邻区办公室", region=other)
    places = {"甲": office, "乙": below, "丙": village, "丁": elsewhere}
    for name, organisation in places.items():
        Department.objects.create(name=name, organisation=organisation)
    return places


def seen(persona, reach, regions=(), organisations=()):
    """Which of the four departments the persona views with a role of this reach."""
    role = Role.objects.create(name=f"试验{reach}", permissions=["departments.view"], reach=reach)
    role.regions.set(regions)
    role.organisations.set(organisations)
    persona.operator.appointments.get().roles.set([role])
    rows = Department.objects.visible_to(persona.actor, "departments.view").filter(name__in="甲乙丙丁")
    return "".join(sorted(rows.values_list("name", flat=True), key="甲乙丙丁".index))


@pytest.mark.req("P-1.6")
@pytest.mark.parametrize(
    ("reach", "expected"),
    [
        (Role.EVERYTHING, "甲乙丙丁"),
        (Role.REGION, "甲乙丙"),
        (Role.BELOW, "甲乙丙"),
        (Role.ORGANISATION, "甲"),
        (Role.OWN, ""),
        (Role.LISTED, ""),
    ],
)
def test_each_kind_of_scope_reaches_its_rows(district, departments, reach, expected):
    assert seen(district, reach) == expected


@pytest.mark.req("P-1.6")
def test_a_list_of_regions_or_organisations_reaches_these_and_below(district, departments):
    assert seen(district, Role.LISTED, regions=["990102", "990101001"]) == "丙丁"
    Role.objects.filter(name="试验指定范围").update(name="另一个")
    assert seen(district, Role.LISTED, organisations=[departments["乙"], departments["丁"]]) == "乙丁"


@pytest.mark.req("P-1.6")
def test_own_rows_are_those_of_the_operator(village):
    role = Role.objects.create(name="本人", permissions=["operators.view"], reach=Role.OWN)
    village.operator.appointments.get().roles.set([role])
    assert list(Operator.objects.visible_to(village.actor, "operators.view")) == [village.operator]


@pytest.mark.req("P-1.6", "P-1.5")
def test_two_roles_never_mix_what_each_was_granted_for(village, othertown):
    appointment = village.operator.appointments.get()
    listed = Role.objects.create(name="邻镇导出", permissions=["people.export"], reach=Role.LISTED)
    listed.regions.set([othertown.region])
    viewer = Role.objects.create(name="只看", permissions=["people.view", "people.export"])
    appointment.roles.set([listed, viewer])
    actor = village.actor
    assert actor.data_scope("people.view").regions == {village.region}
    assert actor.data_scope("people.export").regions == {village.region, othertown.region}
    assert actor.data_scope("people.delete") == NO_SCOPE


@pytest.mark.req("P-1.5")
@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        (EVERYTHING, EVERYTHING, True),
        (DataScope(regions=frozenset(["9901"])), DataScope(regions=frozenset(["990101", "990102"])), True),
        (DataScope(regions=frozenset(["990101"])), DataScope(regions=frozenset(["9901"])), False),
        (DataScope(regions=frozenset(["9901"])), EVERYTHING, False),
        (NO_SCOPE, DataScope(regions=frozenset(["99"])), False),
        (
            DataScope(organisations=frozenset(["000001/"])),
            DataScope(organisations=frozenset(["000001/000002/"])),
            True,
        ),
        (DataScope(organisations_alone=frozenset(["1/"])), DataScope(organisations=frozenset(["1/"])), False),
        (
            DataScope(organisations=frozenset(["1/"])),
            DataScope(organisations_alone=frozenset(["1/2/"])),
            True,
        ),
        (DataScope(owner=1), DataScope(owner=2), False),
        (DataScope(owner=1), NO_SCOPE, True),
    ],
)
def test_a_scope_covers_what_lies_inside_it(wide, narrow, covered):
    assert wide.covers(narrow) is covered

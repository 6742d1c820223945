"""Who was at the same venues as a person: as two plain loops over all scans say, in one's scope (KP-9.1)."""

from datetime import date, datetime, timedelta

import polars as pl
import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jingwei.base.access import EVERYTHING, NO_SCOPE, DataScope
from jingwei.base.models import LogEntry
from jingwei.base.wall import acting
from jingwei.desk.lists import key_text
from jingwei.directory.models import Organisation
from jingwei.people.models import Person, PersonAlias
from jingwei.people.samples import person
from jingwei.places.models import Venue
from jingwei.places.samples import venue
from jingwei.scans import contacts, personal
from jingwei.scans.actions import COLUMNS, store_scans
from jingwei.scans.contacts import find_contacts, meetings_of
from jingwei.scans.models import Contact, ContactSearch
from jingwei.scans.samples import contact, scan
from tests.personas import Persona

pytestmark = pytest.mark.django_db

MONTH_ENDS = datetime(2026, 10, 31, 23, 40)  # midnight and the border of two partitions lie in the data
PEOPLE = [f"99010119800101{n:03d}X" for n in range(7)]
NOBODY = [None, "", "无"]


def scan_all(actor, scans):
    """Store (venue code, number or None, naive time)."""
    rows = {name: [""] * len(scans) for name in COLUMNS}
    rows |= {
        "venue_code": [code for code, _, _ in scans],
        "number": [number for _, number, _ in scans],
        "name": [f"人{n}" for n in range(len(scans))],
        "collected_at": [at for _, _, at in scans],
    }
    types = {name: pl.Datetime("us") if name == "collected_at" else pl.String for name in COLUMNS}
    store_scans(actor, pl.DataFrame(rows, types), timezone.now())


def search(
    persona, number=PEOPLE[0], *, since=date(2026, 10, 31), until=date(2026, 11, 1), minutes=10, **asked
):
    asked = {"second_ring": False, "reason": "流调核查"} | asked
    return find_contacts(persona.actor, number=number, since=since, until=until, minutes=minutes, **asked)


def found(made, ring=Contact.FIRST):
    """{number: (place, meetings, nearest, average in seconds)} of a ring."""
    rows = made.contacts.filter(ring=ring)
    return {row.number.clear(): (row.place, row.meetings, row.nearest, row.apart) for row in rows}


# --- the plain reading ------------------------------------------------------------------------------------


def reference(scans, sources, known, within):
    """The same by plain loops over scans (code, number, time); `sources` are those of whom is followed."""
    gaps = {}
    for source, own in sources.items():
        for code in {code for code, _ in own}:
            times = sorted(at for at_code, at in own if at_code == code)
            stays = [[times[0]]]
            for at in times[1:]:
                if at - stays[-1][-1] <= within:
                    stays[-1].append(at)
                else:
                    stays.append([at])
            for stay in stays:
                for other_code, number, at in scans:
                    if other_code == code and number not in known:
                        gap = min(abs(at - own_at) for own_at in stay)
                        if gap <= within:
                            met = gaps.setdefault(number, {})
                            key = (source, code, stay[0])
                            met[key] = min(met.get(key, (gap, at)), (gap, at))
    ranks = {
        number: (-len(met), sum((gap for gap, _ in met.values()), timedelta()))
        for number, met in gaps.items()
    }
    outcome = {}
    for number, met in gaps.items():
        place = 1 + sum(rank < ranks[number] for rank in ranks.values())
        seconds = [gap.total_seconds() for gap, _ in met.values()]
        outcome[number] = (place, len(met), round(min(seconds)), sum(seconds) / len(met))
    first = {number: min(at for _, at in met.values()) for number, met in gaps.items()}
    return outcome, first


scans_of_a_city = st.lists(
    st.tuples(
        st.sampled_from(["C1", "C2"]),
        st.sampled_from([*PEOPLE, *(n.lower() for n in PEOPLE[:3]), *NOBODY]),
        # Minutes for ties and for the bound itself, seconds for what lies just beyond it.
        st.builds(
            lambda minute, second: MONTH_ENDS + timedelta(minutes=minute, seconds=second),
            st.integers(0, 60),
            st.sampled_from([0, 0, 1, 59]),
        ),
    ),
    min_size=1,
    max_size=60,
)


@pytest.mark.req("KP-9.1")
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scans=scans_of_a_city, minutes=st.integers(1, 15), until=st.sampled_from([31, 1]))
def test_both_rings_are_what_two_loops_over_all_scans_say(db, venueops, scans, minutes, until):
    ContactSearch.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM scans_scan")
    scan_all(venueops.actor, scans)
    last = date(2026, 10, 31) if until == 31 else date(2026, 11, 1)
    made = search(venueops, until=last, minutes=minutes, second_ring=True)

    within = timedelta(minutes=minutes)
    told = {(code, (number or "").upper(), at) for code, number, at in scans}
    told = [scan for scan in told if scan[1] in PEOPLE]
    own = [(code, at) for code, number, at in told if number == PEOPLE[0] and at.date() <= last]
    expected, met_at = reference(told, {0: own} if own else {}, {PEOPLE[0]}, within)
    assert found(made) == rounded(expected)
    assert made.first_ring == len(expected)
    followed = {
        number: [
            (code, at) for code, by, at in told if by == number and met_at[number] <= at and at.date() <= last
        ]
        for number in expected
    }
    followed = {number: own for number, own in followed.items() if own}
    expected, _ = reference(told, followed, {PEOPLE[0], *expected}, within)
    assert found(made, Contact.SECOND) == rounded(expected)
    for each in made.contacts.all():
        met = meetings_of(venueops.actor, each)
        assert len(met) == each.meetings
        assert round(min(m.gap for m in met).total_seconds()) == each.nearest
        assert {m.whom.ring for m in met if m.whom} == (set() if each.ring == Contact.FIRST else {1})


def rounded(expected):
    return {number: (*row[:3], pytest.approx(row[3], abs=0.5)) for number, row in expected.items()}


# --- what counts ------------------------------------------------------------------------------------------


@pytest.mark.req("KP-9.1")
def test_scanning_twice_in_one_stay_is_one_meeting_and_coming_again_is_another(venueops):
    noon = datetime(2026, 10, 31, 12)
    times = [(PEOPLE[0], 0), (PEOPLE[0], 2), (PEOPLE[1], 1), (PEOPLE[1], 4), (PEOPLE[0], 60), (PEOPLE[1], 70)]
    scan_all(venueops.actor, [("C1", who, noon + timedelta(minutes=m)) for who, m in times])
    assert found(search(venueops)) == {PEOPLE[1]: (1, 2, 60, 330)}
    assert found(search(venueops, minutes=9)) == {PEOPLE[1]: (1, 1, 60, 60)}


@pytest.mark.req("KP-9.1")
def test_scans_without_a_number_are_counted_and_nobodys(venueops):
    noon = datetime(2026, 10, 31, 12)
    scan_all(venueops.actor, [("C1", who, noon) for who in (PEOPLE[0], None, "无", PEOPLE[1])])
    made = search(venueops)
    assert (made.first_ring, made.unknown) == (1, 2)


@pytest.mark.req("KP-9.1", "P-5.7")
def test_scans_under_a_number_merged_into_the_persons_are_the_persons(venueops, regulator):
    number = "990101198001010030"
    registered = person(number=number)
    PersonAlias.objects.create(person=registered, doc_type="111", number=PEOPLE[1])
    noon = datetime(2026, 10, 31, 12)
    scan_all(venueops.actor, [("C1", PEOPLE[1], noon), ("C1", number, noon), ("C1", PEOPLE[2], noon)])
    made = search(venueops, number)
    assert (made.scans, found(made)) == (2, {PEOPLE[2]: (1, 1, 0, 0)})
    assert len(meetings_of(venueops.actor, made.contacts.get())) == 1
    with acting(regulator.actor):  # who reaches nobody's record
        assert not Person.objects.exists()
        assert contacts.numbers_in_any_register(PEOPLE[1]) == [PEOPLE[1], number]


@pytest.mark.req("KP-9.1")
def test_only_the_first_in_rank_are_followed_into_the_second_ring(venueops, monkeypatch):
    monkeypatch.setattr(contacts, "FOLLOWED", 1)
    noon, later = datetime(2026, 10, 31, 12), datetime(2026, 10, 31, 15)
    near, far = noon + timedelta(minutes=1), noon + timedelta(minutes=5)
    scans = [("C1", PEOPLE[0], noon), ("C1", PEOPLE[1], near), ("C1", PEOPLE[2], far)]
    scans += [
        ("C2", PEOPLE[1], later),
        ("C2", PEOPLE[3], later),
        ("C3", PEOPLE[2], later),
        ("C3", PEOPLE[4], later),
    ]
    scan_all(venueops.actor, scans)
    made = search(venueops, second_ring=True)
    assert list(found(made, Contact.SECOND)) == [PEOPLE[3]]
    assert made.contacts.get(ring=Contact.SECOND).via == made.contacts.get(place=1, ring=Contact.FIRST)
    page = venueops.client.get(f"/contacts/{made.contacts.get(ring=Contact.SECOND).pk}/").content.decode()
    assert "一次接触者扫码" in page and "（第 1 名）" in page


@pytest.mark.req("KP-9.1")
def test_the_scans_beside_are_found_by_their_key_in_the_months_asked_for_alone(venueops):
    times = [datetime(2026, 8, 1) + timedelta(minutes=97 * n) for n in range(1_500)]
    scan_all(venueops.actor, [(f"C{n % 40}", PEOPLE[n % 7], at) for n, at in enumerate(times)])
    first, last = (timezone.make_aware(datetime(2026, 10, day)) for day in (3, 29))
    told = {"stays": [1], "venues": ["C1"], "begins": [first], "ends": [last], "first": first, "last": last}
    with connection.cursor() as cursor:
        cursor.execute("SELECT wall_analyze('scans_scan')")
        cursor.execute(f"EXPLAIN {contacts.BESIDE}", told)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "scans_scan_202610" in plan and "scans_scan_202609" not in plan and "scans_scan_202611" not in plan
    [condition] = [line for line in plan.splitlines() if "Index Cond" in line]
    assert "venue_code" in condition and "collected_at >= stays.begins" in condition


@pytest.mark.req("KP-9.1")
def test_a_number_that_many_share_is_refused_and_the_refusal_logged(venueops, monkeypatch):
    monkeypatch.setattr(contacts, "MOST_SCANS", 3)
    monkeypatch.setattr(contacts.scans_of, "__kwdefaults__", {"most": 3})
    noon = datetime(2026, 10, 31, 12)
    scan_all(venueops.actor, [("C1", PEOPLE[0], noon + timedelta(minutes=n)) for n in range(4)])
    with pytest.raises(ValidationError, match="超过 3 次"):
        search(venueops)
    assert not ContactSearch.objects.exists()
    entry = LogEntry.objects.get(act="查找接触者")
    assert (entry.result, entry.reason, entry.login) == ("拒绝", "流调核查", "venueops")
    assert PEOPLE[0] not in f"{entry.label} {entry.detail}"


# --- who may, and what is kept ----------------------------------------------------------------------------


@pytest.mark.req("KP-9.1", "P-1.6", "SEC-7")
def test_a_regulator_finds_who_met_at_its_own_venues_alone(regulator, regulator2, venueops):
    mine, other = venue(), venue(regulator=Organisation.objects.get(name="区商务局"))
    noon = datetime(2026, 10, 31, 12)
    scan_all(
        venueops.actor,
        [(mine.code, PEOPLE[0], noon), (mine.code, PEOPLE[1], noon)]
        + [(other.code, PEOPLE[0], noon), (other.code, PEOPLE[2], noon)],
    )
    made = {persona.login: search(persona) for persona in (regulator, regulator2, venueops)}
    assert {login: set(found(each)) for login, each in made.items()} == {
        "regulator": {PEOPLE[1]},
        "regulator2": {PEOPLE[2]},
        "venueops": {PEOPLE[1], PEOPLE[2]},
    }
    # An answer is seen by who reaches just the venues that it is of, and by who reaches all.
    for login, seen in (("regulator", 1), ("regulator2", 1), ("venueops", 3)):
        client = Persona(login).client
        assert len(client.get("/contact-searches/").context["page"].rows) == seen
        for of, each in made.items():
            expected = 200 if login in (of, "venueops") else 404
            assert client.get(f"/contact-searches/{each.pk}/").status_code == expected
            assert client.get(f"/contacts/{each.contacts.first().pk}/").status_code == expected


@pytest.mark.req("KP-9.1", "P-1.6")
def test_who_reaches_more_or_less_does_not_see_what_was_found():
    def seen(made_by, by):
        text = made_by.organisations_text
        row = ContactSearch(number="x", since=MONTH_ENDS, until=MONTH_ENDS, minutes=1, reach=text)
        row.save()
        return ContactSearch.objects.filter(ContactSearch.scope.within(by), pk=row.pk).exists()

    unit, other = (DataScope(organisations=frozenset([path])) for path in ("000001/", "000002/"))
    alone = DataScope(organisations_alone=frozenset(["000001/"]))
    assert seen(unit, unit) and seen(alone, alone) and seen(unit, EVERYTHING)
    assert not any([seen(unit, other), seen(unit, unit | other), seen(unit | other, unit), seen(unit, alone)])
    assert not any([seen(EVERYTHING, unit), seen(NO_SCOPE, NO_SCOPE), seen(unit, NO_SCOPE)])
    assert not seen(DataScope(regions=frozenset(["99"])), DataScope(regions=frozenset(["99"])))


@pytest.mark.req("KP-9.1", "P-4.1", "P-3.1", "SEC-8")
def test_what_is_asked_stands_in_no_address_and_masked_with_its_reason_in_the_log(venueops):
    number = "990101198001010030"
    scan(number=number, collected_at=datetime(2026, 10, 31, 12))
    scan(Venue.objects.get(), number=PEOPLE[1], name="王样例", collected_at=datetime(2026, 10, 31, 12, 3, 20))
    asked = {
        "number": number,
        "since": "2026-10-31",
        "until": "2026-11-01",
        "minutes": "10",
        "second_ring": "1",
    }
    page = venueops.client.post("/contact-searches/new/", asked)
    assert page.status_code == 200 and list(page.context["form"].errors) == ["reason"]
    page = venueops.client.post("/contact-searches/new/", asked | {"reason": "确诊病例流调"})
    made = ContactSearch.objects.get()
    assert page.headers["Location"] == f"/contact-searches/{made.pk}/"
    [entry] = LogEntry.objects.filter(act="查找接触者")
    assert (entry.reason, entry.object_id, entry.detail["一次接触者"]) == ("确诊病例流调", str(made.pk), 1)
    assert "990101********0030" in entry.label and number not in f"{entry.label} {entry.detail}"
    contact = made.contacts.get()
    for address in (
        f"/contact-searches/{made.pk}/",
        f"/contacts/?search={made.pk}&ring=1",
        f"/contacts/{contact.pk}/",
    ):
        answer = venueops.client.get(address).content.decode()
        assert "王样例" in answer and PEOPLE[1] not in answer and number not in answer
    assert "3分20秒" in answer and "2026-10-31 12:03:20" in answer


@pytest.mark.req("KP-9.1")
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"number": "990101198001010031"}, "校验"),
        ({"number": "无"}, "完整的证件号码"),
        ({"until": "2026-10-30"}, "不能早于"),
        ({"until": "2026-12-01"}, "最多查 31 天"),
        ({"minutes": "0"}, "1"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_beside_its_field(venueops, wrong, said):
    asked = {"number": PEOPLE[0], "since": "2026-10-31", "until": "2026-11-01", "minutes": "10"}
    asked |= {"number": "990101198001010030", "second_ring": "1", "reason": "流调核查"} | wrong
    errors = venueops.client.post("/contact-searches/new/", asked).context["form"].errors
    assert said in str(errors[next(iter(wrong))])
    assert not ContactSearch.objects.exists()


@pytest.mark.req("KP-9.1", "P-1.6")
def test_a_search_begins_from_a_scan_that_one_may_see(venueops, regulator, regulator2):
    made = scan(collected_at=datetime(2026, 10, 31, 12))
    address = f"/contact-searches/new/?scan={key_text(made)}"
    assert address in regulator.client.get(f"/scan-query/{key_text(made)}/").content.decode()
    page = regulator.client.get(address).content.decode()
    assert "990101********0030" in page and 'name="number"' not in page
    assert regulator2.client.get(address).status_code == 404
    asked = {
        "since": "2026-10-31",
        "until": "2026-10-31",
        "minutes": "10",
        "second_ring": "1",
        "reason": "流调",
    }
    answer = regulator.client.post("/contact-searches/new/", asked | {"scan": key_text(made)})
    assert answer.status_code == 302
    assert ContactSearch.objects.get().number.clear() == "990101198001010030"
    # Searches of others do not hang on the scan.
    assert "流调" in venueops.client.get(f"/scan-query/{key_text(made)}/").content.decode()
    search(venueops, number="990101198001010030", reason="另一单位")
    assert "另一单位" not in regulator.client.get(f"/scan-query/{key_text(made)}/").content.decode()
    unknown = scan(number=None)
    assert (
        "没有证件号码"
        in venueops.client.get(f"/contact-searches/new/?scan={key_text(unknown)}").content.decode()
    )


@pytest.mark.req("KP-9.1", "SEC-17")
def test_lists_are_forgotten_with_their_search_when_their_time_is_over():
    old, new = contact(), contact()
    ContactSearch.objects.filter(pk=old.search_id).update(created_at=timezone.now() - timedelta(days=61))
    [kept] = [kept for kept in personal.KEPT if kept.model is ContactSearch]
    kept.erase_some(kept.limit(timezone.now()))
    assert [row.pk for row in Contact.objects.all()] == [new.pk]

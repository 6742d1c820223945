"""Who was at the same venues as a person: as two plain loops over all scans say, in one's scope (KP-9.1)."""

from datetime import date, datetime, timedelta

import polars as pl
import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jingwei.scans.actions import COLUMNS, store_scans
from jingwei.scans.contacts import find_contacts, meetings_of
from jingwei.scans.models import Contact, ContactSearch

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
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scans=scans_of_a_city, minutes=st.integers(1, 15), until=st.sampled_from([31, 1]))
def test_both_rings_are_what_two_loops_over_all_scans_say(db, venueops, scans, minutes, until):
    ContactSearch.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE scans_scan")
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
    for contact in made.contacts.all():
        met = meetings_of(venueops.actor, contact)
        assert len(met) == contact.meetings
        assert round(min(m.gap for m in met).total_seconds()) == contact.nearest
        assert {m.whom.ring for m in met if m.whom} == (set() if contact.ring == Contact.FIRST else {1})


def rounded(expected):
    return {number: (*row[:3], pytest.approx(row[3], abs=0.5)) for number, row in expected.items()}

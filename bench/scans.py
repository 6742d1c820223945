"""KP-P1 … KP-P4: loading, querying, counting and deleting scans; the night at 20,000 venues."""

import csv
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from tempfile import NamedTemporaryFile

import polars as pl
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from bench import Figure
from jingwei.base import loading, reading
from jingwei.base.copying import copy_into
from jingwei.base.merging import as_stored
from jingwei.base.partitions import ensure_months
from jingwei.directory.actors import actor_of_login
from jingwei.directory.models import Operator, Organisation
from jingwei.places.models import Venue, VenueDay, VenueThreshold
from jingwei.places.queries import with_scans
from jingwei.scans.actions import COLLECTED, NIGHT, Chosen, compare_venues, count_scans, erase_scans
from jingwei.scans.evaluation import evaluate
from jingwei.scans.models import Scan
from jingwei.scans.sheets import ScanSheet

VENUES = 20_000
PEOPLE = 10_000
SMALL, FULL = 2_000_000, 200_000_000
LOADED = {False: 200_000, True: 1_000_000}  # rows of the file that is loaded
KEPT = {False: 120, True: 365}  # days of which there are scans
ROUNDS = 10
QUERIES = """
- venue_code=B000777 number={number} phone={phone} name={name} street=街道7 result=异常 health_code=红码
collected_at__from={first}&collected_at__to={first} kind=超市
""".split()

# Scans as a city has them, told by their number n: most venues small, a few large.
MAKE = """
INSERT INTO scans_scan
SELECT 'B' || lpad((n %% %(venues)s)::text, 6, '0'), '场所' || n %% %(venues)s, '超市', '安澜区',
       '街道' || n %% 14, '林经理', person.number, '人' || n %% 500000,
       person.phone, CASE WHEN n %% 1000 = 7 THEN '异常' ELSE '正常' END,
       '阴性', '', CASE WHEN n %% 1000 = 9 THEN '红码' ELSE '绿码' END, '',
       %(first)s::timestamptz + n * %(step)s * interval '1 s', n, '样例', now()
FROM generate_series(%(from)s, %(to)s - 1) AS n JOIN person ON person.id = n %% %(people)s
"""
COUNT = """
INSERT INTO places_venueday (venue_code, day, count, updated_at)
SELECT venue.code, %(first)s::date + d, 20 + (venue.id * 7 + d * 13) %% 60, now() - interval '9 days'
FROM places_venue AS venue, generate_series(0, %(days)s - 1) AS d
"""


def measure(full):
    """All figures on some months of scans that end yesterday."""
    call_command("collectstatic", interactive=False, verbosity=0)
    today = timezone.localdate()
    days = KEPT[full]
    first = today - timedelta(days=days)
    scans = FULL if full else SMALL
    _make(first, today, days, scans)
    at = f"{VENUES:,} venues"
    figures = [
        Figure("KP-P3", f"venue comparison and alerts of a night, {at}", _night(today), "s", 10),
        Figure(
            "KP-P2",
            f"scans of each of {at}, any of {days} days: slowest",
            _statistics(first, days),
            "ms",
            300,
        ),
        Figure("KP-P4", f"scan query, {scans:,} scans: p95", _queries(first), "ms", 200),
        Figure("KP-P4", "deleting a month of them", _month(first), "s", 10),
    ]
    rows = LOADED[full]
    ours, bare = _load(rows)
    return [
        *figures,
        Figure("KP-P1", f"loading {rows:,} scans from csv / bare reader and COPY", ours, "s", 3, bare),
    ]


def _make(first, today, days, scans):
    offices = list(Organisation.objects.filter(nature="1")[:5])
    Venue.objects.bulk_create(
        Venue(code=f"B{n:06d}", name=f"场所{n}", kind="1", regulator=offices[n % len(offices)])
        for n in range(VENUES)
    )
    VenueThreshold.objects.bulk_create(
        VenueThreshold(
            venue_id=pk, low=25, high=75, from_day=first, updated_at=timezone.now() - timedelta(days=9)
        )
        for pk in Venue.objects.values_list("pk", flat=True)
    )
    ensure_months(Scan._meta.db_table, first, today)
    begun = timezone.make_aware(datetime.combine(first, datetime.min.time()))
    step = days * 86_400 / scans
    people = pl.DataFrame({"id": range(PEOPLE), "number": _sealed("number"), "phone": _sealed("phone")})
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE person (id int, number bytea, phone bytea)")
        copy_into("person", people)
        cursor.execute(COUNT, {"first": first, "days": days})
        for start in range(0, scans, SMALL):
            told = {
                "people": PEOPLE,
                "venues": VENUES,
                "first": begun,
                "step": step,
                "from": start,
                "to": start + SMALL,
            }
            cursor.execute(MAKE, told)
        cursor.execute("VACUUM ANALYZE scans_scan, places_venueday, places_venue")


def _sealed(name):
    """Ciphertexts of as many people's numbers."""
    field = Scan._meta.get_field(name)
    return as_stored(field, pl.Series([f"{name}{n}" for n in range(PEOPLE)]))


def _timed(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _night(today):
    """The night after a day whose scans have come, of months that were evaluated night by night."""
    evaluate(NIGHT, today - timedelta(days=2))
    VenueDay.objects.filter(day=today - timedelta(days=1)).update(updated_at=timezone.now())

    def night():
        compare_venues(NIGHT)
        evaluate(NIGHT, today - timedelta(days=1))

    return _timed(night)


def _statistics(first, days):
    spans = [(0, days), (0, 30), (17, days - 20), (100, 101), (3, days - 1)]
    taken = []
    for low, high in spans:
        rows = with_scans(Venue.objects.all(), first + timedelta(days=low), first + timedelta(days=high))
        page = rows.order_by("-scans", "code").values_list("code", "scans")[:50]
        taken.append(1000 * median(_timed(lambda page=page: list(page.all())) for _ in range(5)))
    return max(taken)


def _queries(first):
    client = Client(HTTP_HOST="localhost")
    client.force_login(Operator.objects.get(login_key="venueops"))
    words = {"number": "NUMBER7", "phone": "phone7", "name": "人4711", "first": first + timedelta(days=99)}
    client.get("/scan-query/")
    taken = []
    for query in QUERIES:
        address = "/scan-query/?" + query.format(**words).removeprefix("-")
        for _ in range(ROUNDS):
            taken.append(1000 * _timed(lambda address=address: client.get(address)))
    return quantiles(taken, n=20)[-1]


def _month(first):
    actor = actor_of_login("venueops")
    begin = (first + timedelta(days=70)).replace(day=1)
    until = (begin + timedelta(days=32)).replace(day=1)
    since, before = (timezone.make_aware(datetime.combine(d, datetime.min.time())) for d in (begin, until))
    chosen = Chosen(COLLECTED, since, before)
    return _timed(lambda: erase_scans(actor, chosen, expected=count_scans(actor, chosen)))


def _load(rows):
    """Seconds for the load, and for the bare reader and a COPY of the same file into a table of texts."""
    headings = [column.heading for column in ScanSheet.columns]
    with NamedTemporaryFile("w", suffix=".csv", newline="", dir=settings.JINGWEI_HOME) as file:
        out = csv.writer(file)
        out.writerow(headings)
        begun = datetime.combine(date.today(), datetime.min.time()) - timedelta(days=30)
        for n in range(rows):
            at = begun + timedelta(seconds=n * 2)
            out.writerow(
                [
                    f"B{n % VENUES:06d}",
                    "场所",
                    "超市",
                    "安澜区",
                    "街道",
                    "林经理",
                    f"9901011980{n:08d}",
                    f"人{n}",
                ]
                + [f"138{n:08d}", "正常", "阴性", at.isoformat(" "), "绿码", "街道13号", at.isoformat(" ")]
            )
        file.flush()
        with connection.cursor() as cursor:
            columns = ", ".join(f"c{n} text" for n in range(len(headings)))
            cursor.execute(f"CREATE TEMP TABLE bare ({columns})")

            def copy():
                with cursor.copy("COPY bare FROM STDIN (FORMAT csv, HEADER)") as target:
                    target.write(Path(file.name).read_bytes())

            def read():
                with reading.read(Path(file.name), ScanSheet().wanted()) as source:
                    for _ in source:
                        pass

            bare = _timed(read) + _timed(copy)
        actor = actor_of_login("venueops")
        return _timed(lambda: loading.load(actor, ScanSheet(), Path(file.name))), bare

"""KP-P1 … KP-P4: loading, querying, counting and deleting scans; the night at 20,000 venues."""

import csv
import time
from collections import Counter
from datetime import date, datetime, timedelta
from functools import partial
from math import ceil
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
from jingwei.base.partitions import ensure_months, months_of
from jingwei.base.wall import as_owner
from jingwei.directory.actors import actor_of_login
from jingwei.directory.models import Operator, Organisation
from jingwei.places.models import ChangedDay, Venue, VenueThreshold
from jingwei.places.queries import with_scans
from jingwei.places.samples import REGULATOR
from jingwei.scans.actions import COLLECTED, NIGHT, Chosen, compare_venues, count_scans, erase_scans
from jingwei.scans.evaluation import evaluate
from jingwei.scans.models import Scan
from jingwei.scans.sheets import ScanSheet

VENUES = 20_000
PEOPLE = 200_000
SMALL, FULL = 2_000_000, 50_000_000  # FULL takes some 23 GB, its log included
LOADED = {False: 200_000, True: 1_000_000}  # rows of the file that is loaded
LATE = 50_000  # rows of a file about all venues and all days
KEPT = {False: 120, True: 365}  # days of which there are scans
ROUNDS = 5
# One condition each: of many scans, of few, of none.
QUERIES = """
- venue_code=B000777 venue__name=场所777 number={number} phone={phone} number=990101198001010030
name=人4711 name=张伟 venue__kind=1 venue__kind=9 venue__street=街道7 venue__street=别处
result=正常 result=异常 test_result=待检 health_code=绿码 health_code=红码 health_code=黑码
collected_at__from={day}&collected_at__to={day} collected_at__to={day}
venue__regulator={regulator}
""".split()

# Scans as a city has them, told by their number n, which also makes chance: of any venue, all day long.
MAKE = """
INSERT INTO {month}
SELECT 'B' || lpad(venue::text, 6, '0'), '场所' || venue, CASE venue %% 10 WHEN 0 THEN '超市' ELSE '餐馆' END,
       '安澜区', '街道' || venue %% 14, '林经理', person.number,
       CASE WHEN chance %% 1000 = 1 THEN '张伟' ELSE '人' || chance %% 500000 END,
       person.phone, CASE WHEN chance %% 1000 = 7 THEN '异常' ELSE '正常' END,
       CASE WHEN chance %% 20000 = 3 THEN '待检' ELSE '阴性' END, '2026-10-31 06:12:30',
       CASE WHEN chance %% 10000 = 9 THEN '红码' ELSE '绿码' END, '街道13号',
       %(first)s::timestamptz + n * %(step)s * interval '1 s', chance, '样例',
       %(first)s::timestamptz + n * %(step)s * interval '1 s' + interval '1 day'
FROM generate_series(%(from)s, %(to)s - 1) AS n
CROSS JOIN LATERAL (SELECT hashint8extended(n, 7) & 4611686018427387903 AS chance) AS c
CROSS JOIN LATERAL (SELECT chance / 1000 %% %(venues)s AS venue) AS v
JOIN person ON person.id = chance / 10000000 %% %(people)s
"""
COUNT = """
INSERT INTO places_venueday (venue_code, day, count)
SELECT venue_code, (collected_at AT TIME ZONE 'Asia/Shanghai')::date, count(*) FROM {month} GROUP BY 1, 2
"""


def measure(full):
    """All figures on some months of scans that end yesterday."""
    call_command("collectstatic", interactive=False, verbosity=0)
    today = timezone.localdate()
    days = KEPT[full]
    first = today - timedelta(days=days)
    scans = FULL if full else SMALL
    _make(first, today, days, scans)
    at = f"{VENUES:,} venues, {scans:,} scans of {days} days"
    figures = [
        Figure("KP-P3", f"venue comparison and alerts of a night, {at}", _night(today), "s", 10),
        Figure(
            "KP-P2", f"statistics page, any range of days, {at}: slowest", _statistics(first, days), "ms", 300
        ),
        Figure("KP-P4", f"scan query, any single condition, {at}: p95", _queries(first, days), "ms", 200),
        Figure("KP-P4", f"deleting a month, alerts included, {at}", _month(first), "s", 10),
        Figure("KP-6.3", f"loading {LATE:,} late scans, alerts included, {at}", _late(first, days), "s", 10),
    ]
    rows = LOADED[full]
    ours, bare = _load(rows)
    return [
        *figures,
        Figure(
            "KP-P1", f"loading {rows:,} scans of a day from csv / bare reader and COPY", ours, "s", 3, bare
        ),
    ]


def _make(first, today, days, scans):
    """Venues with thresholds, and their scans; indexes are made when the rows are there."""
    other = Organisation.objects.filter(nature="1").exclude(name=REGULATOR)[:4]
    offices = [Organisation.objects.get(name=REGULATOR), *other]
    Venue.objects.bulk_create(
        Venue(
            code=f"B{n:06d}",
            name=f"场所{n}",
            kind="1" if n % 10 else "2",
            street=f"街道{n % 14}",
            regulator=offices[n % len(offices)],
        )
        for n in range(VENUES)
    )
    usual = scans / days / VENUES
    VenueThreshold.objects.bulk_create(
        VenueThreshold(venue_id=pk, low=max(1, usual / 2), high=usual * 2 + 2, from_day=first)
        for pk in Venue.objects.values_list("pk", flat=True)
    )
    ensure_months(Scan._meta.db_table, first, today)
    begun = timezone.make_aware(datetime.combine(first, datetime.min.time()))
    step = days * 86_400 / scans
    people = pl.DataFrame({"id": range(PEOPLE), "number": _sealed("number"), "phone": _sealed("phone")})
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(
            "SET synchronous_commit = off; SET maintenance_work_mem = '1GB'; SET work_mem = '256MB'"
        )
        cursor.execute("CREATE TEMP TABLE person (id int, number bytea, phone bytea)")
        copy_into("person", people)
        cursor.execute("ANALYZE person")
        told = {"people": PEOPLE, "venues": VENUES, "first": begun, "step": step}
        start = 0
        for month in sorted(months_of(Scan._meta.db_table)):
            following = (datetime.strptime(month[-6:], "%Y%m") + timedelta(days=32)).replace(day=1)
            end = min(scans, ceil((timezone.make_aware(following) - begun).total_seconds() / step))
            cursor.execute("SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = %s", [month])
            [bounds] = cursor.fetchone()
            cursor.execute(f"DROP TABLE {month}; CREATE TABLE {month} (LIKE scans_scan)")
            cursor.execute(MAKE.format(month=month), told | {"from": start, "to": end})
            cursor.execute(COUNT.format(month=month))
            cursor.execute(f"ALTER TABLE scans_scan ATTACH PARTITION {month} {bounds}")
            start = end
        cursor.execute("VACUUM ANALYZE scans_scan, places_venueday, places_venuemonth, places_venue")
        cursor.execute("RESET ALL")
    ChangedDay.objects.all().delete()  # counted just now


def _sealed(name):
    """Ciphertexts of as many people's numbers."""
    field = Scan._meta.get_field(name)
    return as_stored(field, pl.Series([f"{name}{n}" for n in range(PEOPLE)]))


def _timed(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _night(today):
    """The night of yesterday, after months that were evaluated the night before."""
    evaluate(NIGHT, today - timedelta(days=2))

    def night():
        compare_venues(NIGHT)
        evaluate(NIGHT, today - timedelta(days=1))

    return _timed(night)


def _statistics(first, days):
    client = Client(HTTP_HOST="localhost")
    client.force_login(Operator.objects.get(login_key="venueops"))
    spans = [(0, days), (0, 29), (17, days - 20), (100, 101), (3, days - 1), (15, days - 16)]
    client.get("/scan-statistics/")
    taken = []
    for low, high in spans:
        since, until = first + timedelta(days=low), first + timedelta(days=high)
        address = f"/scan-statistics/?from={since}&to={until}"
        taken.append(1000 * median(_timed(partial(client.get, address)) for _ in range(ROUNDS)))
    _compare(*(first + timedelta(days=number) for number in spans[2]))
    return max(taken)


def _compare(since, until):
    """Refuse statistics that are not what counting the scans gives."""
    begin, end = (timezone.make_aware(datetime.combine(d, datetime.min.time())) for d in (since, until))
    with connection.cursor() as cursor:
        rows = "scans_scan WHERE collected_at >= %s AND collected_at < %s"
        cursor.execute(
            f"SELECT venue_code, count(*) FROM {rows} GROUP BY 1", [begin, end + timedelta(days=1)]
        )
        counted = Counter(dict(cursor.fetchall()))
    for code, number in with_scans(Venue.objects.all(), since, until).values_list("code", "scans"):
        if counted[code] != number:
            raise RuntimeError(f"{code}: {number} in the statistics, {counted[code]} counted")


def _queries(first, days):
    words = {"number": "NUMBER7", "phone": "phone7", "day": first + timedelta(days=days // 2)}
    words["regulator"] = Organisation.objects.get(name=REGULATOR).pk
    taken = []
    for login in ("venueops", "regulator"):
        client = Client(HTTP_HOST="localhost")
        client.force_login(Operator.objects.get(login_key=login))
        client.get("/scan-query/")
        for query in QUERIES:
            address = "/scan-query/?" + query.format(**words).removeprefix("-")
            taken += [1000 * _timed(partial(client.get, address)) for _ in range(ROUNDS)]
    return quantiles(taken, n=20)[-1]


def _month(first):
    """A month from the middle, so that every venue with a minimum is below it on each of its days."""
    actor = actor_of_login("venueops")
    begin = (first + timedelta(days=70)).replace(day=1)
    until = (begin + timedelta(days=32)).replace(day=1)
    since, before = (timezone.make_aware(datetime.combine(d, datetime.min.time())) for d in (begin, until))
    chosen = Chosen(COLLECTED, since, before)
    return _timed(lambda: erase_scans(actor, chosen, expected=count_scans(actor, chosen)))


def _late(first, days):
    """Seconds for a file about all venues and all days."""
    begun = datetime.combine(first, datetime.min.time())
    times = [begun + timedelta(minutes=n * 7919 % (days * 1440)) for n in range(LATE)]
    with _file(times) as file:
        return _timed(lambda: loading.load(actor_of_login("venueops"), ScanSheet(), Path(file.name)))


def _load(rows):
    """Seconds for the load, and for the bare reader and a COPY of the same file into a table of texts."""
    begun = datetime.combine(date.today(), datetime.min.time())
    with _file([begun + timedelta(seconds=int(n * 86_400 / rows)) for n in range(rows)]) as file:
        with connection.cursor() as cursor:
            columns = ", ".join(f"c{n} text" for n in range(len(ScanSheet.columns)))
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


def _file(times):
    """A file of scans at these times, as the province exports it."""
    file = NamedTemporaryFile("w", suffix=".csv", newline="", dir=settings.JINGWEI_HOME)
    out = csv.writer(file)
    out.writerow([column.heading for column in ScanSheet.columns])
    for n, at in enumerate(times):
        place = [f"B{n * 7919 % VENUES:06d}", "场所", "超市", "安澜区", "街道", "林经理"]
        person = [f"9901011980{n % 750_000:08d}", f"人{n}", f"138{n % 750_000:08d}"]
        out.writerow([*place, *person, "正常", "阴性", "2026-10-31 06:12:30", "绿码", "街道13号", at])
    file.flush()
    return file

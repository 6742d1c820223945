"""KP-9.1 and KP-9.2: contact searches in a city's scans; unusual days and suggestions at 20,000 venues."""

import time
from datetime import datetime, timedelta
from statistics import median

import polars as pl
from django.db import connection
from django.utils import timezone

from bench import Figure
from jingwei.base.copying import copy_into
from jingwei.base.merging import as_stored
from jingwei.base.partitions import ensure_months
from jingwei.base.wall import acting, as_owner
from jingwei.directory.actors import actor_of_login
from jingwei.places.models import Venue
from jingwei.scans.contacts import find_contacts
from jingwei.scans.models import Scan
from jingwei.scans.unusual import analyse

DAYS = 28  # of which there are scans; half of them are searched
A_DAY = {False: 50_000, True: 2_000_000}  # scans: of a town, of the city
EACH = 100  # scans of a venue on a day, in any case: this is what a search meets
SEARCHES = 8
VENUES, COUNTED = 20_000, 120  # of the counters, in days

# Everybody goes to a few places of their own, at any time of twelve hours of the day.
MAKE = """
INSERT INTO scans_scan (venue_code, venue_name, kind, city, street, manager, number, name, phone, result,
    test_result, tested_at, health_code, position, collected_at, digest, importer, imported_at)
SELECT 'T' || lpad(((id * 37 + (random() * 5)::int * 101) %% %(venues)s)::text, 6, '0'),
       '场所', '超市', '安澜区', '街道' || id %% 14, '林经理', number, '人' || id, phone, '正常',
       '阴性', '', '绿码', '', at, n, '样例', now()
FROM (SELECT n, 1 + floor(random() * %(people)s)::int AS id,
             %(day)s::timestamptz + interval '8 hours' + random() * interval '12 hours' AS at
      FROM generate_series(1, %(scans)s) AS n) AS came
JOIN townsman USING (id) ORDER BY at
"""
COUNT = """
INSERT INTO places_venueday (venue_code, day, count)
SELECT code, %(last)s::date - d, (30 + random() * 60)::int
FROM places_venue, generate_series(0, %(days)s - 1) AS d WHERE code LIKE 'U%%'
"""


def measure(full):
    """The slowest of some searches of both rings, and the analysis of a night."""
    yesterday = timezone.localdate() - timedelta(days=1)
    scans = DAYS * A_DAY[full]
    people = _make_scans(yesterday, A_DAY[full])
    slowest = max(_search(yesterday, f"BENCH{1 + people // SEARCHES * n:06d}") for n in range(SEARCHES))
    with connection.cursor() as cursor:
        Venue.objects.bulk_create(Venue(code=f"U{n:06d}", name=f"场所{n}", kind="1") for n in range(VENUES))
        cursor.execute(COUNT, {"last": yesterday, "days": COUNTED})
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE places_venueday, places_venue")
    night = median(_timed(lambda: analyse(yesterday)) for _ in range(3))
    return [
        Figure("KP-9.1", f"contacts in both rings, 14 days of {scans:,} scans: slowest", slowest, "s", 2),
        Figure("KP-9.2", f"unusual days and suggestions, {VENUES:,} venues", night, "s", 2),
    ]


def _make_scans(last, a_day):
    people = a_day // 2
    first = last - timedelta(days=DAYS - 1)
    ensure_months(Scan._meta.db_table, first, last)
    sealed = {
        name: as_stored(
            Scan._meta.get_field(name), pl.Series([f"BENCH{n:06d}" for n in range(1, people + 1)])
        )
        for name in ("number", "phone")
    }
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE townsman (id int, number bytea, phone bytea)")
        copy_into("townsman", pl.DataFrame({"id": range(1, people + 1), **sealed}))
        cursor.execute("ANALYZE townsman")
        for day in range(DAYS):
            begin = timezone.make_aware(datetime.combine(first + timedelta(days=day), datetime.min.time()))
            told = {"day": begin, "scans": a_day, "people": people, "venues": a_day // EACH}
            cursor.execute(MAKE, told)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE scans_scan")
    return people


def _search(last, number):
    asked = {"since": last - timedelta(days=13), "until": last, "minutes": 10, "second_ring": True}
    actor = actor_of_login("venueops")
    with acting(actor):  # as the page does
        return _timed(lambda: find_contacts(actor, number=number, reason="测速", **asked))


def _timed(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started

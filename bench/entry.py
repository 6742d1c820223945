"""KP-P5: entries recorded through the scan page, by a crowd in a process of its own."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from argparse import Namespace
from contextlib import contextmanager
from urllib.parse import urlencode

import polars as pl
import psutil
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from bench import Figure
from jingwei import embedded
from jingwei.base.models import ParameterValue
from jingwei.base.wall import as_owner
from jingwei.cli import web
from jingwei.kit.idcard import check_digits
from jingwei.places.models import Venue, VenueDay
from jingwei.places.queries import scan_address
from jingwei.scans.models import Scan

CORES = 2
CONNECTIONS = 128  # people at the pages at a time
SECONDS = {False: 10, True: 60}
WARM_UP = 2
MOST = 4000  # a second; so many people are there, since who enters twice in a minute has entered once


def measure(full):
    """Entries a second: ours, and one bare INSERT for each request by the same server."""
    call_command("collectstatic", interactive=False, verbosity=0)
    ParameterValue.objects.update_or_create(name="scans.per_minute", defaults={"value": "1000000"})
    venue = Venue.objects.create(code="ENTRY", name="城东农贸市场", kind="1", street="安平街道")
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE bare_entry (at timestamptz, path text, name text, number text, phone text);"
            "GRANT INSERT ON bare_entry TO jingwei_platform"
        )
    address, seconds = scan_address(venue.pk), SECONDS[full]
    ours = _measured("jingwei.wsgi:application", address, seconds)
    days = VenueDay.objects.filter(venue_code=venue.code)
    kept = Scan.objects.filter(venue_code=venue.code).count(), sum(days.values_list("count", flat=True))
    if kept != (ours["answered"], ours["answered"]):
        raise AssertionError(f"{ours['answered']} answered, kept and counted: {kept}")
    bare = _measured("bench.bare_entry:application", address, seconds)
    what = f"entries a second, {CONNECTIONS} people at a time"
    return [
        Figure("KP-P5", what, ours["rate"], "/s", 1000, at_least=True),
        Figure("KP-P5", f"{what} / an INSERT for each", ours["rate"], "/s", 0.1, bare["rate"], at_least=True),
        Figure("KP-P5", "an answer at that rate: p95", ours["p95"], "ms", 1000),
        Figure("KP-P5", f"processor time of an entry ({CORES} cores: 1,000/s)", ours["cost"], "ms", CORES),
    ]


def _measured(application, address, seconds):
    with _served(application) as (port, processes):
        headers, token = _opened(port, address) if "jingwei" in application else ({}, "")
        plan = {"port": port, "path": address, "headers": headers, "connections": CONNECTIONS}
        people = _people(MOST * (WARM_UP + seconds), token)
        warm = _crowd(plan | {"seconds": WARM_UP, "bodies": people[: MOST * WARM_UP]})
        before = _processor_time(processes)
        outcome = _crowd(plan | {"seconds": seconds, "bodies": people[MOST * WARM_UP :]})
        spent = _processor_time(processes) - before
    if outcome["other"] + warm["other"]:
        raise AssertionError(f"{application}: {outcome['other'] + warm['other']} were not recorded")
    return outcome | {
        "rate": outcome["recorded"] / outcome["seconds"],
        "cost": spent / outcome["recorded"] * 1000,
        "answered": warm["recorded"] + outcome["recorded"],
    }


def _people(count, token):
    """Forms of as many people."""
    serial = pl.int_range(count, eager=True)
    births = pl.select(pl.date(1950, 1, 1) + pl.duration(days=serial % 20_000)).to_series()
    first17 = (
        "11010"
        + (serial // 20_000 % 10).cast(pl.String)
        + births.dt.strftime("%Y%m%d")
        + ((serial // 200_000).cast(pl.String).str.zfill(3))
    )
    kept = {"doc_type": "111", "csrfmiddlewaretoken": token}
    return [
        urlencode({"name": f"林样例{n}", "number": number, "phone": f"160{n:08d}", **kept})
        for n, number in enumerate(first17 + check_digits(first17))
    ]


def _opened(port, address):
    """What a browser sends after it has opened the page: (headers, the form's token)."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{address}") as answer:
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        token = re.search('csrfmiddlewaretoken" value="([^"]+)"', answer.read().decode())[1]
    return {"Cookie": cookie, "Accept-Encoding": "identity"}, token


def _crowd(plan):
    crowd = subprocess.run(
        [sys.executable, "-m", "bench.entry_load"], input=json.dumps(plan), capture_output=True, text=True
    )
    crowd.check_returncode()
    return json.loads(crowd.stdout)


@contextmanager
def _served(application):
    """The application behind the web server of `jingwei up`: (port, its process and the database's)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = web.command(Namespace(host="127.0.0.1", port=port, web=CORES))
    command[command.index("jingwei.wsgi:application")] = application
    environment = os.environ | web.of_instance()
    environment["BENCH_DATABASE"] = embedded.url(settings.EMBEDDED_SERVER)
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, preexec_fn=embedded.die_with_parent
    )
    try:
        for _ in range(1200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        postmaster = (settings.EMBEDDED_SERVER / "postmaster.pid").read_text().split()[0]
        yield port, [psutil.Process(server.pid), psutil.Process(int(postmaster))]
    finally:
        server.terminate()
        server.wait(20)


def _processor_time(processes):
    """Seconds that these and what they started have taken."""
    spent = 0.0
    for process in processes:
        for part in [process, *process.children(recursive=True)]:
            times = part.cpu_times()
            spent += times.user + times.system
    return spent

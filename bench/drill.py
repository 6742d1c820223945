"""`make drill`: what an instance at work loses when its parts are killed, and how soon it is back (P-10.2).

People enter at a venue, operators open pages and send messages, rosters are imported; meanwhile one part
after the other is killed, cut off or runs out of disk. What the instance has acknowledged must be there
afterwards, once. Then a backup is taken under the same load, and restored for a trial. What came of each is
printed and written to var/drill.json. It takes some minutes; as root it has a disk of its own to fill,
otherwise that part is left out, and it says so.
"""

import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path

import polars as pl
import psycopg
import requests

from bench import Figure
from jingwei import embedded
from jingwei.kit.idcard import check_digits
from jingwei.messages.tests.standins import SECRET, HttpStandIn
from tests.instance import JINGWEI, new_instance

RESULT = Path("var/drill.json")
PEOPLE, VENUE = 2_000, "DRILL"
ROSTER = 12_000  # rows of the import that runs during each fault
DISK = "3g"  # of the instance, when it has a disk of its own
HOLD = 15  # seconds a lasting fault lasts
CALM = 3  # seconds without a failure: it is over
LONGEST = 180  # seconds to wait for that, and for the import
BACK_WITHIN = 60  # seconds without an entry
HEADINGS = ["村/社区", "姓名", "证件类型", "证件号", "居住地"]


@dataclass
class Outcome:
    """What one fault cost."""

    fault: str
    entries: int = 0  # acknowledged from the fault on
    messages: int = 0
    lost: int = 0  # acknowledged, and not there afterwards
    doubled: int = 0
    back: float = 0.0  # seconds in which no entry was acknowledged
    imports: bool = True  # a roster was being imported
    import_seconds: float | None = None  # until that was through; None: it was not
    seen: dict[str, int] = field(default_factory=dict)  # what people saw instead of their page: how often
    note: str = ""

    @property
    def wrong(self) -> int:
        return self.lost + self.doubled


class Crowd:
    """People and operators at work on an instance, until `stop()`."""

    def __init__(self, instance, prepared):
        self.instance, self.prepared = instance, prepared
        self.entered, self.sent = [], []  # (time, number) of each that was acknowledged
        self.failures = []  # (time, what was seen)
        self.stopping = threading.Event()
        self.numbers = iter(numbers(60_000, first=1_000_000))
        self.phones = (f"160{n:08d}" for n in count(1))
        self.lock = threading.Lock()
        works = [self._enter] * 3 + [self._send, self._browse]
        self.threads = [threading.Thread(target=self._repeat, args=[work], daemon=True) for work in works]

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def is_calm(self):
        """Whether for some seconds nothing has failed and people were let in."""
        since = time.monotonic() - CALM
        return not any(at > since for at, _ in self.failures) and any(at > since for at, _ in self.entered)

    def _repeat(self, work):
        step = work()
        while not self.stopping.is_set():
            try:
                next(step)
            except requests.RequestException as error:
                self._failed(type(error).__name__)
                step = work()
            except Unexpected as answer:
                self._failed(str(answer))
                step = work()

    def _failed(self, seen):
        self.failures.append((time.monotonic(), seen))
        self.stopping.wait(0.2)

    def _enter(self):
        visitor, address = requests.Session(), f"{self.instance.address}{self.prepared['address']}"
        page = opened(visitor, address)
        while True:
            with self.lock:
                number = next(self.numbers)
            form = {"name": "林样例", "number": number, "phone": "16000000001", "doc_type": "111"}
            answered(visitor.post(address, form | page, timeout=10), 200, "已登记")
            self.entered.append((time.monotonic(), number))
            yield self.stopping.wait(0.05)

    def _send(self):
        operator = signed_in(self.instance, "district")
        address = f"{self.instance.address}/sms-send/"
        while True:
            page = opened(operator, f"{address}?template={self.prepared['template']}")
            phone = next(self.phones)
            form = {"template": self.prepared["template"], "numbers": phone, "send": "1"}
            answered(operator.post(address, form | page, timeout=10, allow_redirects=False), 302)
            self.sent.append((time.monotonic(), phone))
            yield self.stopping.wait(0.3)

    def _browse(self):
        operator = signed_in(self.instance, "town")
        while True:
            for page in ("/", "/people/", "/jobs/"):
                answered(operator.get(self.instance.address + page, timeout=10), 200)
                yield self.stopping.wait(0.2)


class Unexpected(Exception):
    """An answer that is not what was asked for, as people see it."""


def answered(answer, status, words=""):
    """The answer, if it has this status and these words."""
    if answer.status_code != status or words not in answer.text:
        title = re.search("<title>([^<]*)", answer.text)
        raise Unexpected(f"{answer.status_code} {title[1].split('·')[0].strip() if title else ''}".strip())
    return answer


def opened(visitor, address):
    """The hidden fields of the form on a page."""
    page = answered(visitor.get(address, timeout=10), 200).text
    return dict(re.findall('name="(csrfmiddlewaretoken|token)" value="([^"]+)"', page))


def signed_in(instance, login):
    operator = requests.Session()
    address = f"{instance.address}/sign-in/"
    form = {"login": login, "password": instance.password(login)} | opened(operator, address)
    answered(operator.post(address, form, timeout=10, allow_redirects=False), 302)
    return operator


def numbers(many, first):
    """Valid ID numbers of people of the fictional district, each number once."""
    order = pl.int_range(first, first + many, eager=True)
    born = pl.select(pl.date(1950, 1, 1) + pl.duration(days=order % 25_000)).to_series()
    first17 = "990101" + born.dt.strftime("%Y%m%d") + (order // 25_000).cast(pl.String).str.zfill(3)
    return (first17 + check_digits(first17)).to_list()


# --- inside the instance ------------------------------------------------------------------------------------


def inside(instance, function, *arguments):
    """What a function of this module gives in the database of the instance."""
    program = (
        "import django, json, sys; django.setup(); from bench import drill; from jingwei.base import wall;"
        "wall.place(wall.BEYOND); print(json.dumps(getattr(drill, sys.argv[1])(*sys.argv[2:])))"
    )
    command = [sys.executable, "-c", program, function, *map(str, arguments)]
    return json.loads(
        subprocess.run(command, env=instance.environment, capture_output=True, check=True).stdout
    )


def prepare():
    """A venue, a template, and no bound on entries from one address."""
    from jingwei.base.models import ParameterValue
    from jingwei.messages.models import SmsTemplate
    from jingwei.places.models import Venue
    from jingwei.places.queries import scan_address

    ParameterValue.objects.update_or_create(name="scans.per_minute", defaults={"value": "1000000"})
    venue = Venue.objects.create(code=VENUE, name="城东农贸市场", kind="1", street="安平街道")
    template = SmsTemplate.objects.create(name="演练", text="演练短信，不必回复。")
    return {"address": scan_address(venue.pk), "template": template.pk}


def kept():
    """The numbers of those recorded at the venue, and in the register of those imported; faults of counts."""
    from jingwei.base import chain
    from jingwei.people.day_counts import DOSES, PEOPLE, recount
    from jingwei.people.models import Person
    from jingwei.scans.models import Scan
    from jingwei.testing.models import SAMPLES

    scans, people = Scan.objects.filter(venue_code=VENUE), Person.objects.all()
    return {
        "entered": [number.clear() for number in scans.values_list("number", flat=True)],
        "people": [number.clear() for number in people.values_list("number", flat=True)],
        "counts": recount(PEOPLE, DOSES, SAMPLES),
        "chain": chain.verify().in_all,
    }


# --- faults -------------------------------------------------------------------------------------------------


class Drill:
    """The faults, one after the other, on one instance at work."""

    def __init__(self, instance, gateway, disk):
        self.instance, self.gateway, self.disk = instance, gateway, disk
        self.outcomes, self.spans, self.rosters = [], [], []
        self.crowd = Crowd(instance, inside(instance, "prepare"))
        self.clerk = signed_in(instance, "village")

    def run(self):
        self.crowd.start()
        time.sleep(CALM)
        self.suffer("网页进程 kill -9", self.kill("granian"))
        self.suffer("后台进程 kill -9", self.kill("procrastinate"))
        self.suffer("数据库 kill -9", lambda: self.instance.postmaster().kill())
        self.suffer("数据库连接被切断", self.cut_connections)
        self.suffer("整个实例 kill -9 后重新启动", self.kill_all)
        if self.disk:
            self.suffer(f"磁盘写满 {HOLD} 秒", self.fill_disk)
        self.back_up()
        self.crowd.stop()
        self.compare()

    def suffer(self, name, fault):
        """Have a fault in the middle of everything, and wait until it is over."""
        print(f"{name} …", file=sys.stderr, flush=True)
        load = self.begin_import()
        began = time.monotonic()
        fault()
        time.sleep(CALM)  # to be felt
        wait_for(self.crowd.is_calm)
        outcome = Outcome(name)
        with suppress(TimeoutError):
            wait_for(lambda: self.import_is_over(load))
            outcome.import_seconds = time.monotonic() - began
        self.outcomes.append(outcome)
        self.spans.append((began, time.monotonic()))

    def back_up(self):
        print("备份 …", file=sys.stderr, flush=True)
        began, folder = time.monotonic(), self.instance.home / "backups"
        outcome = Outcome("备份（运行中）并检验恢复", imports=False)
        for command in (["backup", folder], ["restore", None, "--verify"]):
            if command[1] is None:
                [command[1]] = folder.glob("2*")
            started = time.monotonic()
            done = subprocess.run(
                [JINGWEI, *command], env=self.instance.environment, capture_output=True, text=True
            )
            outcome.note += f"{command[0]} {time.monotonic() - started:.0f} s "
            if done.returncode:
                outcome.lost += 1
                outcome.note += (done.stdout + done.stderr)[-500:]
        self.outcomes.append(outcome)
        self.spans.append((began, time.monotonic()))

    def compare(self):
        """Compare what was acknowledged with what is there."""
        wait_for(lambda: not self.waiting_messages())
        there = inside(self.instance, "kept")
        entered, people = Counter(there["entered"]), Counter(there["people"])
        phones = Counter(to for to, _ in self.gateway.phones)
        for outcome, (began, ended), roster in zip(
            self.outcomes, self.spans, [*self.rosters, []], strict=True
        ):
            let_in = [number for at, number in self.crowd.entered if began <= at <= ended]
            sent = [phone for at, phone in self.crowd.sent if began <= at <= ended]
            outcome.entries, outcome.messages = len(let_in), len(sent)
            for had, wanted in ((entered, let_in), (phones, sent), (people, roster)):
                outcome.lost += sum(not had[each] for each in wanted)
                outcome.doubled += sum(had[each] > 1 for each in wanted)
            times = [began, *(at for at, _ in self.crowd.entered if began <= at <= ended)]
            gaps = [later - at for at, later in zip(times, times[1:], strict=False)]
            outcome.back = max(gaps, default=ended - began)
            outcome.seen = dict(
                Counter(seen for at, seen in self.crowd.failures if began <= at <= ended).most_common()
            )
        if wrong := there["counts"] + there["chain"]:
            self.outcomes[-1].lost += wrong
            self.outcomes[-1].note += f"{there['counts']} counts wrong, {there['chain']} breaks in the log"

    def waiting_messages(self):
        with psycopg.connect(embedded.url(self.instance.home / "pg")) as database:
            waiting = "SELECT FROM sms_smsmessage WHERE state IN ('等待发送', '发送中') LIMIT 1"
            return database.execute(waiting).rowcount

    def begin_import(self):
        """Upload a roster of new people, confirm it, and wait until some of it is stored."""
        first = 10_000_000 + len(self.rosters) * ROSTER
        self.rosters.append(numbers(ROSTER, first))
        address = f"{self.instance.address}/people/import/"
        with tempfile.TemporaryFile("w+", newline="", encoding="utf-8") as file:
            sheet = csv.writer(file)
            sheet.writerow(HEADINGS)
            rows = (["上埔社区", "陈新", "居民身份证", number, "1号"] for number in self.rosters[-1])
            sheet.writerows(rows)
            file.seek(0)
            form = {"mode": "both", "bad": "skip"} | opened(self.clerk, address)
            upload = {"file": (f"名单{first}.csv", file.buffer)}
            answer = self.clerk.post(address, form, files=upload, timeout=30, allow_redirects=False)
        address = f"{self.instance.address}{answered(answer, 302).headers['Location']}"
        load = int(address.rstrip("/").rpartition("/")[2])
        wait_for(lambda: self.ask("SELECT preview <> '{}' FROM base_load WHERE id = %s", load))
        answered(self.clerk.post(f"{address}confirm/", opened(self.clerk, address), timeout=30), 200)
        with suppress(TimeoutError):  # what the fault before has done to the worker shows in the table
            wait_for(lambda: self.ask("SELECT count(*) FROM base_loadchunk WHERE load_id = %s", load))
        return load

    def import_is_over(self, load):
        with suppress(psycopg.OperationalError):  # the database is not back yet
            return self.ask("SELECT state FROM base_load WHERE id = %s", load) == "完成"

    def ask(self, question, *values):
        with psycopg.connect(embedded.url(self.instance.home / "pg")) as database:
            return database.execute(question, values).fetchone()[0]

    def kill(self, words):
        def fault():
            for process in self.instance.parts(words):
                process.kill()

        return fault

    def kill_all(self):
        postmaster = self.instance.postmaster()
        self.instance.process.kill()
        for process in [*self.instance.parts(""), postmaster]:
            with suppress(psycopg.Error, ProcessLookupError):
                process.kill()
        self.instance.process.communicate()
        self.instance.start()

    def cut_connections(self):
        admin = embedded.url(self.instance.home / "pg", user="postgres", database="postgres")
        with psycopg.connect(admin, autocommit=True) as server:
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'jingwei' "
                "AND pid <> pg_backend_pid()"
            )

    def fill_disk(self):
        filling = self.instance.home / "filling"
        with open(filling, "wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(2**20))
        with open(filling, "ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(2**9))
        admin = embedded.url(self.instance.home / "pg", user="postgres", database="postgres")
        until = time.monotonic() + HOLD
        while time.monotonic() < until:
            # What the server has made ready beforehand would carry it through the night.
            with suppress(psycopg.Error), psycopg.connect(admin, autocommit=True) as server:
                server.execute("SELECT pg_switch_wal()")
            time.sleep(0.5)
        filling.unlink()


def wait_for(fact):
    until = time.monotonic() + LONGEST
    while not fact():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.2)


@contextmanager
def own_disk(folder):
    """A small disk of our own at the folder, where that may be had; whether it was."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)


def measure(full):
    """Per fault what was lost or doubled, how long nobody was let in, when the import was through."""
    with tempfile.TemporaryDirectory(prefix="jingwei-drill-") as folder, own_disk(folder) as disk:
        os.chmod(folder, 0o755)
        with HttpStandIn() as gateway, new_instance(folder, people=PEOPLE) as instance:
            instance.environment |= {"JINGWEI_SMS": "http", "JINGWEI_SMS_URL": gateway.url}
            instance.environment |= {"JINGWEI_SMS_SECRET": SECRET, "TMPDIR": folder}
            instance.start()
            drill = Drill(instance, gateway, disk)
            try:
                drill.run()
            finally:
                drill.crowd.stop()
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps([asdict(o) for o in drill.outcomes], ensure_ascii=False, indent=1))
    show(drill.outcomes)
    if not disk:
        print("磁盘写满：没有演练（需要 root 权限挂载一块小磁盘）")
    return [figure for outcome in drill.outcomes for figure in figures(outcome)]


def figures(outcome):
    yield Figure("P-10.2", f"{outcome.fault}: acknowledged, then lost or twice", outcome.wrong, "", 0)
    yield Figure("P-10.2", f"{outcome.fault}: nobody let in", outcome.back, "s", BACK_WITHIN)
    if outcome.imports:
        through = LONGEST if outcome.import_seconds is None else outcome.import_seconds
        yield Figure("P-10.2", f"{outcome.fault}: until the import was through", through, "s", LONGEST - 1)


def show(outcomes):
    print(f"{'entries':>8} {'messages':>8} {'lost':>5} {'twice':>5} {'back':>7} {'import':>8}  fault")
    for o in outcomes:
        through = "never" if o.import_seconds is None else f"{o.import_seconds:.0f} s"
        through = through if o.imports else ""
        print(
            f"{o.entries:>8,} {o.messages:>8,} {o.lost:>5,} {o.doubled:>5,} "
            f"{o.back:>5.1f} s {through:>8}  {o.fault}  {o.note}"
        )
        for seen, often in o.seen.items():
            print(f"{'':49} {often:,} × {seen}")

"""Where the log cannot be written nothing is done, by no face: SEC-10."""

import io
from argparse import Namespace
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import Error, connection
from django.test import Client
from PIL import Image

from jingwei import menu
from jingwei.base.loading import load
from jingwei.base.models import Job
from jingwei.cli import backup, export, rows
from jingwei.desk import attachments, files, jobs, tasks
from jingwei.directory import passwords
from jingwei.messages.delivery import deliver
from jingwei.messages.gateways.outbox import OutboxGateway
from jingwei.messages.samples import message
from jingwei.oversight import erasing
from jingwei.people.samples import VILLAGE, person
from jingwei.people.statistics import RECOUNT
from jingwei.scans.samples import scan

PASSWORD = "Jinwei-9999"
# What may differ all the same: that somebody asked, that a job or load was tried, that something went wrong.
TRACES = {
    *(
        "base_errorentry",
        "base_job",
        "base_load",
        "directory_session",
        "directory_guard",
        "directory_operator",
    ),
    *("procrastinate_jobs", "procrastinate_events", "procrastinate_periodic_defers", "base_strayobject"),
}


def contents():
    """{table: a digest of its rows} of all that the platform keeps."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND relnamespace = 'public'::regnamespace"
        )
        tables = sorted({table for (table,) in cursor.fetchall()} - TRACES)
        cursor.execute(
            " UNION ALL ".join(
                f"SELECT '{table}', count(*), sum(hashtextextended(t::text, 0)) FROM {table} t"
                for table in tables
            )
        )
        return {table: digest for table, *digest in cursor.fetchall()}


def stored():
    """Every file in the places where the platform keeps some."""
    places = (files.folder(), Path(settings.JINGWEI_STORAGE))
    return {path for place in places for path in place.rglob("*") if path.is_file()}


def picture():
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "PNG")
    return content.getvalue()


class Acts:
    """What people and machines do, each named as a fact; an answer is what they got of it."""

    def __init__(self, village, sysadmin, venueops, folder):
        self.folder, self.person, self.scan, self.message = folder, person(), scan(), message()
        deliver(OutboxGateway())
        passwords.set_password(village.operator, PASSWORD, must_change=False)
        self.actor = village.actor
        clients = [Client(raise_request_exception=False) for _ in range(4)]
        self.village, self.sysadmin, self.venueops, self.stranger = clients
        self.venueops.force_login(venueops.operator)
        self.sysadmin_actor = sysadmin.actor
        self.village.force_login(village.operator)
        self.sysadmin.force_login(sysadmin.operator)
        self.unit = sysadmin.operator.organisation_id
        with files.create(village.operator.pk, "表.csv") as file:
            file.write("秘密".encode())
        self.file = file.stored
        resource = menu.resource("people")
        self.attached = attachments.attach(self.actor, resource, self.person, name="a.png", data=picture())
        wish = {"keys": [], "format": "csv", "everything": False, "clear": False, "reason": ""}
        self.job = jobs.start(self.actor, "export", "导出", {"resource": "people", "wish": wish})
        self.page = f"/people/{self.person.pk}/"

    def save_a_form(self):
        return self.sysadmin.post(
            "/departments/new/", {"organisation": self.unit, "name": "样例科", "order": "0"}
        )

    def change_a_parameter(self):
        return self.sysadmin.post("/parameters/", {"name": "signin.idle", "value": "20"})

    def delete_a_person(self):
        return self.village.post(f"{self.page}delete/")

    def do_a_verb(self):
        asked = {"pk": self.person.pk, "confirm": "1", "to_region": f"{VILLAGE[:-1]}2", "reason": "购房"}
        return self.village.post("/people/do/transfer/", asked)

    def open_a_person(self):
        return self.village.get(self.page)

    def start_a_job_of_the_timetable(self):
        before = Job.objects.count()
        answer = self.sysadmin.post(f"/jobs-of-all/run/{RECOUNT}/")
        assert Job.objects.count() == before
        return answer

    def pretend_a_receipt(self):
        return self.village.post(f"/sms-outbox/{self.message.pk}/event/", {"event": "delivered"})

    def send_a_message(self):
        wish = {"template": self.message.template_id, "value_1": "3月1日", "value_2": "社区", "send": "1"}
        return self.village.post("/sms-send/", wish | {"numbers": "16000000002 张三"})

    def search_for_contacts(self):
        asked = {"number": self.scan.number.clear(), "since": "2026-10-31", "until": "2026-11-01"}
        asked |= {"minutes": "10", "second_ring": "1", "reason": "流调核查"}
        return self.venueops.post("/contact-searches/new/", asked)

    def see_clear_values(self):
        return self.village.post(f"{self.page}unmask/", {"reason": "核对名单"})

    def download_an_export(self):
        return self.village.post("/people/export/", {"format": "csv", "rows": "page"})

    def download_a_file(self):
        return self.village.get(f"/files/{self.file.pk}/")

    def open_an_attachment(self):
        return self.village.get(f"{self.page}attachments/{self.attached.pk}/")

    def add_an_attachment(self):
        sent = {"file": SimpleUploadedFile("b.png", picture())}
        return self.village.post(f"{self.page}attachments/", sent)

    def delete_an_attachment(self):
        return self.village.post(f"{self.page}attachments/{self.attached.pk}/delete/")

    def sign_in(self):
        return self.stranger.post("/sign-in/", {"login": "village", "password": PASSWORD})

    def sign_in_wrong(self):
        return self.stranger.post("/sign-in/", {"login": "village", "password": "wrong"})

    def import_a_sheet(self):
        path = self.folder / "regions.csv"
        path.write_text("代码,名称\n990101099,新乡\n", encoding="utf-8")
        load(self.sysadmin_actor, menu.sheets()["regions"], path)

    def run_a_job(self):
        jobs.run({name: kind.work for name, kind in tasks.KINDS.items()}, self.job.pk)

    def erase_what_is_too_old(self):
        erasing.erase_expired(self.actor, None, lambda done, total: None)

    def export_by_command(self):
        options = {"clear": False, "reason": "", "out": self.folder / "人员.csv"}
        export.run(self._options(**options))

    def list_clear_values_by_command(self):
        rows.run(self._options(clear=True, reason="核对", count=False, format="csv"))

    def back_up(self):
        backup.run(Namespace(folder=self.folder / "backups", keys=None, keep=None))

    def _options(self, **options):
        asked = {"resource": "people", "login": "village", "q": "", "where": [], "order": "", "limit": None}
        return Namespace(**asked | options)


ACTS = [name for name in vars(Acts) if not name.startswith("_")]


@pytest.mark.req("SEC-10")
def test_an_act_that_cannot_be_logged_is_not_done(owner, village, sysadmin, venueops, tmp_path, settings):
    settings.JINGWEI_STORAGE = str(tmp_path / "attachments")
    Path(settings.JINGWEI_STORAGE).mkdir()
    acts = Acts(village, sysadmin, venueops, tmp_path)
    owner.execute("REVOKE INSERT ON base_logentry FROM jingwei_app, jingwei_platform")
    done, before, there = [], contents(), stored()
    for name in ACTS:
        said, answer = io.StringIO(), None
        try:
            with redirect_stdout(said):
                answer = getattr(acts, name)()
        except Error as error:
            assert "base_logentry" in str(error), name
        got = b"".join(answer) if answer is not None else said.getvalue().encode()
        if answer is not None and answer.status_code != 500:
            done.append(f"{name} answers {answer.status_code}")
        changed = [table for table, rows in contents().items() if rows != before[table]]
        if changed or stored() != there:
            done.append(f"{name} changes {changed or '(files)'}")
        secrets = (b"\x89PNG", "秘密".encode(), acts.person.number.clear().encode(), "林样例".encode())
        if any(secret in got for secret in secrets):
            done.append(f"{name} tells")
    assert done == []
    assert not (tmp_path / "人员.csv").exists() and not list(tmp_path.glob("backups/2*"))
    assert acts.stranger.get("/people/").status_code == 302, "nobody is in"
    assert Job.objects.get(pk=acts.job.pk).state != Job.DONE

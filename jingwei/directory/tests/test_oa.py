"""Organisations and people come from the OA (KP-8.3); the OA is a local server that speaks the protocol."""

import json
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from jingwei.base import parameters
from jingwei.base.models import LogEntry, ParameterValue
from jingwei.directory import oa, oa_actions
from jingwei.directory.models import Appointment, OaSource, Operator, Organisation
from jingwei.kit import signing

pytestmark = [pytest.mark.django_db, pytest.mark.req("KP-8.3")]
SECRET = "与 OA 约定的密钥"


class OaStandIn:
    """An OA system. `organisations` and `people` are its rows; `fault(path)` may answer in their place."""

    def __init__(self):
        self.organisations, self.people = [], []
        self.asked, self.page_size = [], 2
        self.fault = lambda handler: False
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}/api"

    def __enter__(self):
        serve = {"poll_interval": 0.02}
        threading.Thread(target=self.server.serve_forever, kwargs=serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def _handler(standin):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def do_GET(self):
                given = {name: self.headers[f"X-Jingwei-{name}"] for name in ("Time", "Nonce", "Signature")}
                signed = {"method": "GET", "target": self.path, "body": b"", "now": time.time()}
                signed |= {"time": given["Time"], "nonce": given["Nonce"]}
                if not signing.is_signed(SECRET.encode(), given["Signature"], **signed):
                    return self.answer(401, {})
                if standin.fault(self):
                    return None
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                standin.asked.append((parts.path, query))
                rows = getattr(standin, parts.path.removeprefix("/api/"))
                if "since" in query:
                    since = datetime.fromisoformat(query["since"])
                    rows = [row for row in rows if row.get("changed", NOW) >= since]
                start = int(query.get("cursor", 0))
                end = start + standin.page_size
                following = str(end) if end < len(rows) else None
                page = {"at": NOW.isoformat(), "items": rows[start:end], "next": following}
                return self.answer(200, page)

            def answer(self, status, data, **headers):
                body = data if isinstance(data, bytes) else json.dumps(data, default=str).encode()
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

        return Handler


NOW = datetime.now(UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def office(pk, parent=None, **more):
    return {"id": pk, "name": f"单位{pk}", "short_name": "", "parent": parent, "active": True} | more


def clerk(pk, organisation="B", **more):
    row = {"id": pk, "login": f"oa-{pk}", "name": f"职工{pk}", "phone": "16000000001", "active": True}
    return row | {"organisation": organisation} | more


@pytest.fixture
def system():
    """An OA with three levels of organisations and four people, not yet synchronised."""
    with OaStandIn() as standin:
        standin.organisations = [office("C", "B"), office("B", "A"), office("A"), office("D", "A")]
        standin.people = [clerk("1"), clerk("2"), clerk("3", "C"), clerk("4", "D")]
        yield standin


@pytest.fixture
def source(system):
    root = Organisation.objects.get(parent=None)
    return OaSource.objects.create(
        pk=1, address=system.address, account="jingwei", secret=SECRET, root=root, enabled=True
    )


def synchronise(full=True):
    return oa_actions.synchronise(lambda done, total: None, full=full)


def reasons(plan):
    return {pk: reason for _, pk, reason in plan.refused}


def organisation(pk):
    return Organisation.objects.get(external_id=pk)


def account(pk):
    return Operator.objects.select_related("organisation").get(external_id=pk)


# --- what comes -------------------------------------------------------------------------------------------


def test_organisations_and_people_arrive_page_by_page_whatever_their_order(source):
    assert synchronise().refused == []
    assert organisation("C").path == f"{source.root.path}{organisation('A').pk:06d}/" + "".join(
        f"{organisation(pk).pk:06d}/" for pk in "BC"
    )
    assert organisation("C").region_id == source.root.region_id
    assert (account("3").organisation, account("3").name) == (organisation("C"), "职工3")
    assert account("3").phone.clear() == "16000000001"


@pytest.mark.req("SEC-5", "SEC-6")
def test_a_new_account_can_do_nothing_until_the_security_administrator_grants(source, secadmin):
    synchronise()
    new = account("1")
    assert not new.has_usable_password() and not new.appointments.exists()
    assert secadmin.client.get("/operators/", {"q": new.login}).status_code == 200
    logged = LogEntry.objects.filter(resource="operators", object_id=str(new.pk)).get()
    assert (logged.act, logged.actor, "16000000001" in str(logged.detail)) == ("新增", "OA 同步", False)


def test_twice_is_the_same_as_once(source):
    synchronise()
    before = list(Operator.objects.values_list("pk", "version"))
    assert synchronise().changes == []
    assert list(Operator.objects.values_list("pk", "version")) == before


def test_the_oa_wins_for_what_it_owns_and_leaves_the_rest(source, system):
    synchronise()
    Organisation.objects.filter(external_id="B").update(kind="1", name="改过的名称")
    system.organisations[1] |= {"name": "新名称", "parent": None}
    system.people[2] |= {"name": "改名", "phone": "16000000002", "login": "another"}
    plan = synchronise()
    assert plan.counts()["organisations"] == {"新增": 0, "修改": 1, "停用": 0}
    moved = organisation("B")
    assert (moved.name, moved.kind, moved.parent) == ("新名称", "1", source.root)
    assert organisation("C").path.startswith(moved.path)
    assert (account("3").name, account("3").login) == ("改名", "oa-3")
    assert account("3").phone.clear() == "16000000002"


def test_organisations_that_change_places_or_names_are_followed(source, system):
    system.organisations.append(office("E", "D"))
    synchronise()
    system.organisations = [
        *[office("A"), office("D", "A", name="单位E"), office("B", "C"), office("C", "A"), office("E", "A")]
    ]
    system.organisations[-1]["name"] = "单位F"
    assert synchronise().refused == []
    assert organisation("B").parent == organisation("C")
    assert organisation("B").path == organisation("B").own_path()


def test_an_existing_organisation_and_account_are_linked_by_their_external_id(source, system, town):
    Organisation.objects.filter(pk=town.operator.organisation_id).update(external_id="B")
    Operator.objects.filter(pk=town.operator.pk).update(external_id="1")
    plan = synchronise()
    assert plan.counts()["organisations"] == {"新增": 3, "修改": 1, "停用": 0}
    assert town.operator.name == "职工1"
    assert town.operator.appointments.count() == 1  # the organisation is the one it was


# --- what goes --------------------------------------------------------------------------------------------


def more_people(system):
    system.people += [clerk(str(n), "D") for n in range(10, 20)]
    system.organisations += [office(f"X{n}", "D") for n in range(5)]


def test_who_is_gone_is_stopped_and_nothing_is_deleted(source, system):
    more_people(system)
    synchronise()
    Operator.objects.filter(external_id="1").update(must_change_password=False, password_at=NOW)
    client = Client()
    client.force_login(account("1"))
    assert client.get("/jobs/").status_code == 200
    del system.people[0], system.organisations[3:5]  # person 1, organisations D and X0
    plan = synchronise()
    assert plan.counts() == {
        "organisations": {"新增": 0, "修改": 0, "停用": 2},
        "operators": {"新增": 0, "修改": 0, "停用": 1},
    }
    assert not account("1").enabled and not organisation("X0").enabled and not organisation("D").enabled
    assert client.get("/jobs/").status_code == 302


def test_who_comes_back_is_for_the_administrator_to_enable(source, system):
    more_people(system)
    synchronise()
    system.people[0]["active"] = False
    synchronise()
    system.people[0]["active"] = True
    plan = synchronise()
    assert "在本平台已停用" in reasons(plan)["1"] and not account("1").enabled


@pytest.mark.parametrize("left", [0, 9])
def test_an_answer_that_shrinks_too_much_is_refused_and_nothing_is_ended(source, system, left):
    more_people(system)
    synchronise()
    system.people = system.people[:left]
    system.organisations.append(office("N"))
    with pytest.raises(ValidationError, match="超过允许的 30%"):
        synchronise()
    assert Operator.objects.exclude(external_id="").filter(enabled=True).count() == 14
    assert not Organisation.objects.filter(external_id="N").exists()
    assert "超过允许的" in OaSource.objects.get().report["error"]
    ParameterValue.objects.create(name="oa.shrink", value="100")
    parameters.forget()
    if left:
        assert synchronise().counts()["operators"]["停用"] == 5
    else:
        with pytest.raises(ValidationError):
            synchronise()


def test_a_row_that_makes_no_sense_is_not_taken_for_one_that_is_gone(source, system):
    synchronise()
    system.people[0]["name"] = "行一\n行二"
    system.people[1]["phone"] = "一二三"
    plan = synchronise()
    assert "姓名" in reasons(plan)["1"] and "电话" in reasons(plan)["2"]
    assert account("1").enabled and account("2").enabled


@pytest.mark.req("SEC-6")
def test_the_accounts_of_administrators_are_left_alone(source, system, secadmin):
    Operator.objects.filter(pk=secadmin.operator.pk).update(external_id="1")
    home = secadmin.operator.organisation
    Organisation.objects.filter(pk=home.pk).update(external_id="H")
    more_people(system)
    system.organisations.append(office("H", name=home.name))
    plan = synchronise()
    assert "安全管理员维护" in reasons(plan)["1"] and secadmin.operator.name != "职工1"
    del system.people[0], system.organisations[-1]
    plan = synchronise()
    assert {"1", "H"} <= set(reasons(plan))
    assert secadmin.client.get("/operators/").status_code == 200


def test_who_is_transferred_keeps_no_rights_in_the_organisation_left(source, system):
    synchronise()
    mover = account("1")
    Appointment.objects.create(operator=mover, organisation=mover.organisation)
    elsewhere = Appointment.objects.create(operator=mover, organisation=organisation("D"))
    system.people[0]["organisation"] = "C"
    synchronise()
    assert account("1").organisation == organisation("C")
    assert account("1").appointments_in_force == [elsewhere]


# --- what cannot be taken ---------------------------------------------------------------------------------


def test_cycles_duplicates_and_missing_parents_are_reported_and_the_rest_goes_on(source, system):
    system.organisations += [office("X", "Y"), office("Y", "X"), office("Z", "Y"), office("Q", "nowhere")]
    system.organisations += [office("D2", "A"), office("D2", "A"), office("same", "A", name="单位B")]
    system.organisations += [{"name": "没有编号"}, "no row", office("bad", "A", region="1234567")]
    system.people += [clerk("5", "Q"), clerk("6", login="sysadmin"), clerk("7", login="")]
    system.people += [clerk("8", login="twice"), clerk("9", login="TWICE")]
    plan = synchronise()
    told = reasons(plan)
    assert all("绕成了圈" in told[pk] for pk in ("X", "Y"))
    assert "重复 2 次" in told["D2"] and "同名" in told["same"] and "行政区划" in told["bad"]
    assert "nowhere" in told["Q"] and "单位 Q" in told["5"]
    assert "已被使用" in told["6"] and "没有登录名" in told["7"]
    assert "不止一人" in told["8"] and "不止一人" in told["9"]
    assert {"X", "Y", "Z", "Q", "D2"}.isdisjoint(Organisation.objects.values_list("external_id", flat=True))
    assert plan.counts()["organisations"]["新增"] == 4 and account("4").organisation == organisation("D")
    assert len(plan.refused) == len(OaSource.objects.get().report["refused"]) == 14


def slow_page(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(20):
        handler.wfile.write(b" ")
        time.sleep(0.05)
    return True


def answering(status, data, **headers):
    return lambda handler: handler.answer(status, data, **headers) or True


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (answering(302, {}, Location="http://198.51.100.7/"), "没有跟随"),
        (answering(500, {}), "应答 500"),
        (answering(200, b"[" * 5000), "不是约定的 JSON"),
        (answering(200, {"at": None, "items": []}), "不合约定"),
        (answering(200, {"at": NOW.isoformat(), "items": [], "next": "again"}), "没有尽头"),
        (answering(200, b" " * (oa.LONGEST_PAGE + 1)), "超过 8 MB"),
        (slow_page, "太慢"),
        (lambda handler: handler.connection.close() or True, "连接 OA 失败"),
    ],
)
def test_an_oa_that_does_not_keep_to_the_form_is_refused_in_words(source, system, fault, said, monkeypatch):
    monkeypatch.setattr(oa_actions, "SYNC_SECONDS", 0.3)
    system.fault = fault
    with pytest.raises(ValidationError, match=said):
        synchronise()
    assert not Operator.objects.exclude(external_id="").exists()
    assert said in OaSource.objects.get().report["error"]


def test_a_wrong_secret_is_told(source):
    OaSource.objects.update(secret=OaSource(secret="wrong").secret)
    with pytest.raises(ValidationError, match="账号或密钥"):
        synchronise()


# --- only what changed ------------------------------------------------------------------------------------


def test_between_two_full_runs_only_changes_are_asked_for_and_nobody_is_ended_by_absence(source, system):
    more_people(system)
    synchronise()
    for row in [*system.people, *system.organisations]:
        row["changed"] = LONG_AGO
    del system.people[0]
    system.people[0] |= {"changed": NOW, "name": "新名字"}
    system.people[1] |= {"changed": NOW, "active": False}
    system.asked.clear()
    plan = synchronise(full=False)
    assert plan.counts()["operators"] == {"新增": 0, "修改": 1, "停用": 1}
    assert account("1").enabled and account("2").name == "新名字" and not account("3").enabled
    assert all(datetime.fromisoformat(query["since"]) < NOW for _, query in system.asked)


# --- the desk ---------------------------------------------------------------------------------------------


def settings_form(system, source, **more):
    kept = {"address": system.address, "account": "jingwei", "secret": SECRET, "enabled": "on"}
    return kept | {"root": Organisation.objects.get(parent=None).pk, "version": "1"} | more


def test_the_system_administrator_sets_it_up_tries_it_and_starts_it(system, sysadmin):
    page = sysadmin.client.get("/oa/").content.decode()
    assert "还没有设置" in page and "试连" not in page.split("<main")[1].split("</header>")[0]
    assert sysadmin.client.post("/oa/", settings_form(system, None)).status_code == 302
    page = sysadmin.client.get("/oa/").content.decode()
    assert SECRET not in page and "已保存，不再显示" in page
    tried = sysadmin.client.post("/oa/try/").content.decode()
    assert "连接正常" in tried and "职工3" in tried
    assert not Operator.objects.exclude(external_id="").exists()
    assert sysadmin.client.post("/jobs-of-all/run/oa-sync/").status_code == 302
    outcome = oa_actions.sync_all(None, None, lambda done, total: None)
    assert outcome["message"] == "组织新增 4、修改 0、停用 0；人员新增 4、修改 0、停用 0；需要处理 0 行。"
    acts = list(LogEntry.objects.filter(resource="oa").values_list("act", flat=True))
    assert sorted(acts) == ["修改", "试连"]
    assert SECRET not in str(LogEntry.objects.values_list("detail", flat=True))


def test_the_secret_goes_to_no_other_address_than_the_one_it_was_given_for(source, system, sysadmin):
    moved = settings_form(system, source, address="https://oa.example.com/api", secret="")
    answer = sysadmin.client.post("/oa/", moved)
    assert "请重新填写密钥" in answer.content.decode()
    assert OaSource.objects.get().address == system.address
    assert sysadmin.client.post("/oa/", settings_form(system, source, secret="")).status_code == 302
    assert OaSource.objects.get().secret.clear() == SECRET


@pytest.mark.parametrize(
    "address",
    ["ftp://10.0.0.1/", "http://oa.example.com/", "http://8.8.8.8/", "https://user@oa.example.com/", "oa"]
    + ["https://oa.example.com/?a=1", "https://[::1", "https://oa.example.com:port/", "https://"],
)
def test_an_address_that_is_none_or_would_tell_people_in_clear_is_refused(address):
    with pytest.raises(ValidationError):
        oa.check_address(address)


@pytest.mark.parametrize("login", ["secadmin", "auditadmin", "district"])
def test_nobody_else_opens_the_settings(login, request):
    persona = request.getfixturevalue(login)
    assert persona.client.get("/oa/").status_code == 403
    assert persona.client.post("/oa/try/").status_code == 403


def test_what_the_oa_owns_is_shown_locked_and_refused_by_hand(source, sysadmin, secadmin):
    synchronise()
    ours = organisation("B")
    page = sysadmin.client.get(f"/organisations/{ours.pk}/edit/").content.decode()
    assert "由 OA 同步，请在 OA 中修改" in page
    form = {"name": "手改", "short_name": "", "parent": "", "region": ours.region_id, "nature": "1"}
    form |= {"external_id": "B", "version": ours.version}
    assert sysadmin.client.post(f"/organisations/{ours.pk}/edit/", form).status_code == 302
    ours.refresh_from_db()
    assert (ours.name, ours.nature, ours.parent) == ("单位B", "1", organisation("A"))
    with pytest.raises(ValidationError, match="请在 OA 中修改"):
        actions_save(sysadmin, ours, {"name": "手改"})
    person = account("1")
    form = {"name": "手改", "phone": "", "organisation": "", "login": person.login, "external_id": "1"}
    answer = secadmin.client.post(
        f"/operators/{person.pk}/edit/", form | {"ends_on": "2020-01-01", "version": person.version}
    )
    assert answer.status_code == 302
    person.refresh_from_db()
    assert (person.name, str(person.ends_on), person.phone.clear()) == ("职工1", "2020-01-01", "16000000001")


def actions_save(persona, row, values):
    from jingwei.directory.actions import save_organisation

    return save_organisation(persona.actor, row, values=values)


# --- the menu for the portal of the OA --------------------------------------------------------------------


def ask_menu(target, secret=SECRET):
    now, nonce = str(int(time.time())), "nonce"
    signed = {"method": "GET", "target": target, "time": now, "nonce": nonce, "body": b""}
    headers = {"X-Jingwei-Time": now, "X-Jingwei-Nonce": nonce}
    signature = signing.signature(secret.encode(), **signed)
    return Client().get(target, headers=headers | {"X-Jingwei-Signature": signature})


def test_the_portal_gets_the_menu_that_each_person_may_open(source, venueops):
    Operator.objects.filter(pk=venueops.operator.pk).update(external_id="P7")
    systems = ask_menu("/gateway/oa/menus/?person=P7").json()["systems"]
    entries = {entry["name"]: entry["address"] for system in systems for entry in system["entries"]}
    assert entries["场所信息"] == "http://testserver/venues/" and "操作员" not in entries
    assert ask_menu("/gateway/oa/menus/?person=nobody").json() == {"systems": []}
    assert ask_menu("/gateway/oa/menus/?person=").json() == {"systems": []}
    assert ask_menu("/gateway/oa/menus/?person=P7", "another").status_code == 403
    assert Client().get("/gateway/oa/menus/?person=P7").status_code == 403

"""Who sets up front databases and feeds, and what the pages show of them (P-8.4, KP-8.2)."""

import os
import subprocess
from datetime import datetime, timedelta

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.utils import timezone

from jingwei import embedded
from jingwei.base.models import Job, LogEntry
from jingwei.desk import jobs, tasks
from jingwei.exchange import actions
from jingwei.exchange.models import FrontFeed, FrontSource
from jingwei.exchange.samples import feed as sample_feed
from jingwei.exchange.samples import source as sample_source
from jingwei.exchange.sources import Unavailable, opened
from jingwei.exchange.tests.databases import certificate_of_loopback, server_context
from jingwei.exchange.tests.test_pulling import scan
from jingwei.scans.models import Scan

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("front")]
ENTERED = {
    **{"name": "省前置库", "kind": "postgresql", "host": "10.0.0.8", "port": "5432", "database": "qz"},
    **{"user": "reader", "security": "encrypted", "authority": "", "note": ""},
}


# --- sources ----------------------------------------------------------------------------------------------


@pytest.mark.req("P-8.4", "P-1.8")
def test_the_system_administrator_keeps_the_sources_and_the_operating_unit_the_feeds(
    sysadmin, venueops, regulator, district
):
    assert sysadmin.client.post("/front-sources/new/", ENTERED).status_code == 302
    assert FrontSource.objects.get().name == "省前置库"
    for persona, source, feed in [(sysadmin, 200, 403), (venueops, 403, 200), (regulator, 403, 403)]:
        assert persona.client.get("/front-sources/").status_code == source
        assert persona.client.get("/front-feeds/").status_code == feed
    for address in ("do/password/?pk=1", "1/try/"):
        assert venueops.client.post(f"/front-sources/{address}").status_code == 403
    assert venueops.client.get("/front-sources/1/").status_code == 403
    assert district.client.get("/front-feeds/").status_code == 403


@pytest.mark.req("P-8.4")
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("host", "/var/run/postgresql", "主机名或 IP"),
        ("host", "10.0.0.8,10.0.0.9", "主机名或 IP"),
        ("port", "0", "大于或等于"),
        ("port", "70000", "小于或等于"),
        ("database", "qz user=postgres", "只能含文字"),
        ("user", "a'b", "只能含文字"),
        ("security", "verified", "签发机构的证书"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_words(sysadmin, name, value, said):
    answer = sysadmin.client.post("/front-sources/new/", ENTERED | {name: value})
    assert said in answer.content.decode() and not FrontSource.objects.exists()


@pytest.mark.req("P-8.4", "SEC-13")
@pytest.mark.django_db(transaction=True)
def test_a_password_is_kept_sealed_and_stands_on_no_page_nor_in_the_log(sysadmin):
    source = sample_source()
    secret = "Geheim-口令-734"
    sent = {"pk": source.pk, "password": secret, "confirm": "1"}
    answer = sysadmin.client.post("/front-sources/do/password/", sent, follow=True)
    assert "口令已加密保存" in answer.content.decode()
    assert source.password.text.clear() == secret
    for address in ("", f"{source.pk}/", f"{source.pk}/edit/", f"do/password/?pk={source.pk}"):
        assert secret not in sysadmin.client.get(f"/front-sources/{address}").content.decode()
    assert LogEntry.objects.filter(act="设置口令", login="sysadmin", object_id=source.pk).exists()
    command = [embedded.BIN / "pg_dump", "--inserts", "--dbname", os.environ["JINGWEI_OWNER_URL"]]
    dump = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert secret not in dump and secret.encode().hex() not in dump


@pytest.mark.req("P-8.4")
def test_a_password_is_not_sent_to_another_address(sysadmin):
    source = sample_source(security="encrypted")
    kept = {name: getattr(source, name) for name in (*FrontSource.ADDRESS, "name", "note")}
    address = f"/front-sources/{source.pk}/edit/"

    def change(**values):
        source.refresh_from_db()
        kept.update(values)
        assert sysadmin.client.post(address, kept | {"version": source.version}).status_code == 302
        source.refresh_from_db()
        return source.password_at

    actions.set_password(sysadmin.actor, source, password="x")  # noqa: S106
    assert change(name="改名", note="改说明") is not None
    assert change(host="10.9.9.9") is None
    with pytest.raises(Unavailable, match="还没有设置口令"), opened(source):
        pass
    actions.set_password(sysadmin.actor, source, password="x")  # noqa: S106
    assert change(security="plain") is None
    assert LogEntry.objects.filter(act="清除口令").count() == 2


@pytest.mark.req("P-8.4")
def test_a_source_is_tried_and_what_is_wrong_is_told(front, source, sysadmin):
    def tried():
        return sysadmin.client.post(f"/front-sources/{source.pk}/try/", follow=True).content.decode()

    said = tried()
    assert "已连上" in said and "可以读 2 个表或视图：scans、venues" in said
    assert ("MariaDB" if front.kind == "mysql" else "PostgreSQL") in said
    actions.set_password(sysadmin.actor, source, password="wrong")  # noqa: S106
    assert "用户名或口令不对" in tried()
    assert [entry.result for entry in LogEntry.objects.filter(act="试连").order_by("pk")] == ["成功", "失败"]


@pytest.mark.req("P-8.4", "SEC-12")
def test_an_encrypted_connection_checks_the_certificate_if_asked_to(front, source, tmp_path):
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate_of_loopback(certificate, key)
    if front.kind == "mysql":
        source.port, authority = front.port, front.authority
    else:
        front.door.tls, authority = server_context(certificate, key), certificate.read_text()
    stranger = tmp_path / "stranger.pem"
    certificate_of_loopback(stranger, tmp_path / "other.pem")
    try:
        for security, trusted in (("encrypted", ""), ("verified", authority)):
            source.security, source.authority = security, trusted
            with opened(source) as reader:
                assert reader.columns("scans")
        source.authority = stranger.read_text()
        with pytest.raises(Unavailable, match="证书核对不通过"), opened(source):
            pass
        source.authority = "-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----"
        with pytest.raises(Unavailable, match="证书"), opened(source):
            pass
    finally:
        front.door.tls = None


# --- feeds ------------------------------------------------------------------------------------------------


@pytest.fixture
def entered(venueops, source):
    """A feed of scans as somebody has entered it, without columns yet."""
    sent = {"sheet": "scans", "source": source.pk, "table": "scans", "overlap": "600"}
    assert venueops.client.post("/front-feeds/new/", sent).status_code == 302
    return FrontFeed.objects.get()


@pytest.mark.req("P-8.4", "P-4.3")
def test_columns_are_suggested_tried_masked_and_kept(front, entered, venueops):
    front.insert("scans", scan(1), scan(2, cj_sj="昨天", at=datetime(2026, 11, 2)))
    address = f"/front-feeds/{entered.pk}/columns/"
    page = venueops.client.get(address)
    chosen = {column.name: theirs for column, theirs, _ in page.context["rows"] if theirs}
    assert chosen["number"] == "sfzh" and chosen["collected_at"] == "cj_sj" and len(chosen) == 9
    assert page.context["mark"] == "gx_sj"
    text = page.content.decode()
    assert "16000000001" not in text and "160****0001" in text and "990101198001010030" not in text
    assert "第 1 行（不能存入） 采集时间：无法识别的时间" in text

    sent = {f"column-{name}": theirs for name, theirs in chosen.items()} | {"mark": "gx_sj"}
    for lacking in ({"column-venue_code": ""}, {"mark": ""}, {"mark": "cs_id; DROP TABLE scans"}):
        answer = venueops.client.post(address, sent | lacking | {"save": "1"})
        assert "请指定" in answer.content.decode()
    tried = venueops.client.post(address, sent | {"column-name": 'xm" FROM scans; --', "try": "1"})
    assert tried.status_code == 200 and entered.mark == ""
    assert venueops.client.post(address, sent | {"save": "1"}).status_code == 302
    entered.refresh_from_db()
    assert (entered.columns, entered.mark) == (chosen, "gx_sj")
    [change] = LogEntry.objects.filter(resource="front-feeds", act="修改", login="venueops")
    assert change.detail["changes"]["被采集人身份证"] == ["", "sfzh"]
    front.insert("scans", scan(3, at=None))
    assert "水位列有空值的行" in venueops.client.get(address).content.decode()
    front.execute("DROP TABLE scans")
    assert "没有表或视图“scans”" in venueops.client.get(address).content.decode()


@pytest.mark.req("P-8.4")
@pytest.mark.parametrize(
    "table", ['scans"; DROP TABLE x; --', "scans;", "a.b.c", "pg catalog", "1scans", "`x`"]
)
def test_only_a_bare_name_is_a_table(venueops, table):
    sent = {"sheet": "scans", "source": sample_source().pk, "table": table, "overlap": "600"}
    assert "请填表名或视图名" in venueops.client.post("/front-feeds/new/", sent).content.decode()
    assert not FrontFeed.objects.exists()


@pytest.mark.req("P-8.4", "P-3.1")
def test_a_feed_is_switched_on_only_when_it_works_and_every_step_is_logged(front, entered, venueops, source):
    def do(verb, **more):
        sent = {"pk": entered.pk, "confirm": "1", **more}
        return venueops.client.post(f"/front-feeds/do/{verb}/", sent, follow=True).content.decode()

    assert "还没有指定列对应" in do("switch-on")
    columns = {"venue_code": "cs_id", "collected_at": "cj_sj", "name": "xm"}
    actions.save_columns(venueops.actor, entered, columns=columns, mark="gx_sj")
    front.execute("ALTER TABLE scans RENAME COLUMN xm TO gone")
    assert "没有列“xm”" in do("switch-on")
    front.execute("ALTER TABLE scans RENAME COLUMN gone TO xm")
    assert "已启用" in do("switch-on")
    with pytest.raises(ValidationError, match="先停用再删除"):
        actions.delete_feed(venueops.actor, entered)
    with pytest.raises(ValidationError, match="请先停用"):
        actions.save_feed(venueops.actor, FrontFeed.objects.get(), values={"table": "venues"})

    front.insert("scans", scan(1), scan(2, cj_sj="昨天"))
    assert "已开始取数" in do("pull")
    page = venueops.client.get(f"/front-feeds/{entered.pk}/").content.decode()
    assert "正在排队" in page and 'hx-trigger="every 1s"' in page
    job = Job.objects.get(kind="front-pull")
    jobs.run({name: kind.work for name, kind in tasks.KINDS.items()}, job.pk)
    job.refresh_from_db()
    assert (job.state, job.message) == (Job.DONE, "读到 2 行：新增 1，修改 0，拒绝 1")
    page = venueops.client.get(f"/front-feeds/{entered.pk}/").content.decode()
    assert "以前的都已取到" in page and "无法识别的时间" in page
    assert Scan.objects.get().name == "人1"
    assert "下一次取数从头开始" in do("start-over", mark="")
    assert "已停用" in do("switch-off")
    acts = set(
        LogEntry.objects.filter(resource="front-feeds", login="venueops").values_list("act", flat=True)
    )
    assert acts >= {"新增", "修改", "启用取数", "立即取数", "重取", "停用取数"}
    actions.save_feed(venueops.actor, FrontFeed.objects.get(), values={"table": "venues"})
    entered.refresh_from_db()
    assert (entered.mark, entered.columns, entered.position) == ("", {}, "")


@pytest.mark.req("P-8.4", "P-1.6")
def test_a_feed_is_set_only_by_who_may_import_everything(venueops):
    made = sample_feed(sheet="scans")
    role = venueops.operator.appointments.get().roles.get()
    role.reach = role.OWN_ORGANISATION if hasattr(role, "OWN_ORGANISATION") else role.BELOW
    role.save()
    narrow = venueops.actor
    for act in (
        lambda: actions.switch_on(narrow, made),
        lambda: actions.switch_off(narrow, made),
        lambda: actions.start_over(narrow, made),
        lambda: actions.pull_now(narrow, made),
        lambda: actions.delete_feed(narrow, made),
        lambda: actions.save_columns(narrow, made, columns={}, mark="x"),
        lambda: actions.save_feed(narrow, made, values={"overlap": 1}),
    ):
        with pytest.raises(PermissionDenied, match="须由可导入全部"):
            act()


@pytest.mark.req("P-8.4", "P-6.4")
def test_a_failing_feed_is_work_for_the_operating_unit(venueops):
    sample_feed(
        sheet="scans",
        enabled=True,
        error="前置库拒绝连接",
        failing_since=timezone.now() - timedelta(hours=1),
    )
    assert "前置库取数故障" in venueops.client.get("/").content.decode()
    row = FrontFeed.objects.get()
    page = venueops.client.get(f"/front-feeds/{row.pk}/").content.decode()
    assert "前置库拒绝连接" in page and "恢复后从中断处接着取" in page

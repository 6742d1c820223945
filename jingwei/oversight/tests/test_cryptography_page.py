"""The page for the cryptography check shows algorithms, key ids and counts, never a key (SEC-15, P-4.7)."""

import shutil
from pathlib import Path

import pytest

from jingwei.base import crypto, rotation
from jingwei.base.crypto import provider
from jingwei.base.models import Job, KeyRotation, LogEntry
from jingwei.desk import jobs, tasks
from jingwei.oversight import rotating
from jingwei.people.models import Person
from jingwei.people.samples import person

PAGE = "/cryptography/"


@pytest.fixture(autouse=True)
def ring(settings, tmp_path):
    """A copy of the keys, which other tests keep as they are."""
    for name in ("JINGWEI_KEYS", "JINGWEI_MASTER_KEY_FILE"):
        setattr(settings, name, Path(shutil.copy(getattr(settings, name), tmp_path / name)))
    settings.JINGWEI_FILES = tmp_path / "files"


def text_of(answer):
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.req("SEC-15", "P-4.7")
def test_the_page_tells_everything_but_the_keys(secadmin, settings):
    page = text_of(secadmin.client.get(PAGE))
    for said in (
        "SM4-SIV",
        "GB/T 32907",
        "PBKDF2-HMAC-SM3",
        "k1",
        "当前",
        "SoftwareProvider",
        "通过",
        "主密钥",
    ):
        assert said in page
    for place in rotation.places():
        assert place.label.partition("：")[2] in page
    secret = settings.JINGWEI_MASTER_KEY_FILE.read_text().split()
    secret += [key.hex() for key in provider()._ring().known.values()]
    secret += [word for word in settings.JINGWEI_KEYS.read_text().split('"') if len(word) > 40]
    assert len(secret) == 5
    assert not [key for key in secret if key in page or key[:16] in page]


@pytest.mark.req("SEC-15")
def test_only_the_security_administrator_opens_it(secadmin, sysadmin, auditadmin, village):
    for other in (sysadmin, auditadmin, village):
        for address in (PAGE, f"{PAGE}rotate/"):
            assert other.client.get(address).status_code == 403
            assert other.client.post(f"{PAGE}rotate/").status_code == 403
    assert not Job.objects.filter(kind=rotating.KIND).exists()


@pytest.mark.req("SEC-15", "P-4.7")
def test_a_self_test_can_be_run_and_leaves_a_row(secadmin, monkeypatch):
    page = text_of(secadmin.client.post(f"{PAGE}test/", follow=True))
    assert "自检通过" in page
    assert LogEntry.objects.filter(act="密码自检", result="成功").count() == 1
    monkeypatch.setitem(crypto.KNOWN_ANSWERS, "SM4", "00")
    page = text_of(secadmin.client.post(f"{PAGE}test/", follow=True))
    assert "自检没有通过" in page and "SM4 gives a wrong answer" in page
    assert LogEntry.objects.filter(act="密码自检", result="失败").count() == 1
    monkeypatch.undo()
    crypto.self_test()


@pytest.mark.req("P-4.4", "SEC-15")
def test_a_rotation_is_started_shown_and_gone_on_with(secadmin, monkeypatch):
    one = person()
    asked = text_of(secadmin.client.get(f"{PAGE}rotate/"))
    assert "将生成一把新密钥" in asked and not Job.objects.filter(kind=rotating.KIND).exists()
    assert "密钥正在轮换" in text_of(secadmin.client.post(f"{PAGE}rotate/", follow=True))
    secadmin.client.post(f"{PAGE}rotate/")  # a second click starts nothing
    [job] = Job.objects.filter(kind=rotating.KIND)
    works = {name: kind.work for name, kind in tasks.KINDS.items()}
    with monkeypatch.context() as patch:
        patch.setattr(rotation, "_move_documents", lambda *_: 1 / 0)
        jobs.run(works, job.pk)
    assert "没有完成" in text_of(secadmin.client.get(PAGE))
    assert "继续轮换" in text_of(secadmin.client.get(f"{PAGE}rotate/"))
    secadmin.client.post(f"{PAGE}rotate/")
    last = Job.objects.filter(kind=rotating.KIND).latest("pk")
    jobs.run(works, last.pk)
    last.refresh_from_db()
    assert last.state == Job.DONE and "k2" in last.message
    assert KeyRotation.objects.get().started_by == secadmin.actor.name
    page = text_of(secadmin.client.get(PAGE))
    assert "k1 → k2" in page and "--retire k1" in page
    assert "还没有停用" in text_of(secadmin.client.get(f"{PAGE}rotate/"))
    secadmin.client.post(f"{PAGE}rotate/")
    assert Job.objects.filter(kind=rotating.KIND).count() == 2
    assert Person.objects.get(pk=one.pk).number.clear() == one.number.clear()

"""What all machines must have alike is compared before one of them serves anybody."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError

from jingwei.base.crypto import create_key_ring, provider
from jingwei.cli.web import check_machine
from jingwei.running import machines
from jingwei.running.models import Fingerprint

pytestmark = [pytest.mark.django_db, pytest.mark.req("P-10.2", "SEC-15")]


@pytest.fixture
def ring(settings, tmp_path):
    """The key ring of this machine, which was the first."""
    settings.JINGWEI_KEYS = tmp_path / "keys.json"
    settings.JINGWEI_MASTER_KEY_FILE = tmp_path / "master.key"
    create_key_ring(settings.JINGWEI_KEYS)
    Fingerprint.objects.all().delete()
    machines.check_secrets()
    return settings.JINGWEI_KEYS


def test_a_machine_with_the_same_secrets_starts(ring):
    machines.check_secrets()


def test_the_database_learns_no_secret(ring, settings):
    kept = " ".join(Fingerprint.objects.values_list("digest", flat=True))
    assert settings.SECRET_KEY not in kept and len(kept.split()) == 2
    assert not any(secret in kept for secret in ring.read_text().split('"') if len(secret) > 16)


def test_another_key_of_the_same_number_is_refused(ring):
    ring.unlink()
    create_key_ring(ring)
    with pytest.raises(ImproperlyConfigured, match="密钥 k1 与这个实例的不同"):
        machines.check_secrets()


def test_a_ring_that_lacks_the_newest_key_is_refused(ring):
    before = ring.read_bytes()
    provider().add_key()
    machines.check_secrets()  # the machine that rotates
    ring.write_bytes(before)
    with pytest.raises(ImproperlyConfigured, match="缺少密钥 k2"):
        machines.check_secrets()


def test_a_wrong_ring_enters_nothing(ring):
    ring.unlink()
    create_key_ring(ring)
    provider().add_key()
    with pytest.raises(ImproperlyConfigured):
        machines.check_secrets()
    assert not Fingerprint.objects.filter(name="k2").exists()


def test_another_signing_key_is_refused_until_it_is_taken_on_purpose(ring, settings):
    settings.SECRET_KEY = "another" * 10
    with pytest.raises(ImproperlyConfigured, match="签名密钥"):
        machines.check_secrets()
    machines.forget_signing_key()
    machines.check_secrets()


def test_beside_a_database_that_is_behind_nothing_starts(owner, settings):
    settings.EMBEDDED_SERVER = None
    check_machine()
    owner.execute("DELETE FROM django_migrations WHERE app = 'running'")
    with pytest.raises(CommandError, match=r"缺少 \d+ 个升级步骤，请先运行 jingwei migrate"):
        check_machine()


def test_the_embedded_database_is_for_one_machine(settings):
    with pytest.raises(CommandError, match="jingwei up"):
        check_machine()

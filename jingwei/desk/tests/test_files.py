"""Files of operators: sealed on disk, whole or not at all, gone when their time is over."""

import errno
import os
from datetime import timedelta

import pytest
from django.utils import timezone

from jingwei.base.models import LogEntry, StoredFile
from jingwei.base.sealing import BLOCK, TAG
from jingwei.desk import files

NAME = "名单 2026.xlsx"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder of the test's own: others write files at the same time."""
    monkeypatch.setattr(files, "folder", lambda: tmp_path / "files")


@pytest.fixture
def stored(village):
    with files.create(village.operator.pk, NAME) as file:
        file.write("林样例,16000000001".encode())
    return file.stored


def on_disk():
    return [path for path in files.folder().rglob("*") if path.is_file()]


@pytest.mark.req("P-4.1", "SEC-13")
@pytest.mark.django_db
def test_what_lies_on_disk_shows_nothing_and_only_to_its_owner(stored):
    path = files.place(stored.pk)
    assert b"16000000001" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.req("P-5.4")
@pytest.mark.django_db
@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_a_file_comes_back_as_it_was_written(village, size):
    content = os.urandom(size)
    with files.create(village.operator.pk, NAME) as file:
        for start in range(0, size, 700_001):
            file.write(content[start : start + 700_001])
    assert b"".join(files.blocks(file.stored)) == content
    assert file.stored.size == size
    with files.clear_path(file.stored) as path:
        assert path.read_bytes() == content
    assert not path.exists()


@pytest.mark.req("SEC-14", "P-4.1")
@pytest.mark.django_db
@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
        lambda content: content[:-1],
        lambda content: content[: -(TAG + 7)],  # the whole last block
        lambda content: content + b"more",
        lambda content: b"",
    ],
    ids=["a bit", "the end", "a block", "longer", "empty"],
)
def test_a_file_changed_on_disk_is_not_given_out(village, spoil):
    with files.create(village.operator.pk, NAME) as file:
        file.write(os.urandom(BLOCK + 7))
    path = files.place(file.stored.pk)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(files.Damaged, match="已损坏"):
        b"".join(files.blocks(file.stored))


@pytest.mark.req("P-5.4")
@pytest.mark.django_db
def test_a_file_that_could_not_be_finished_leaves_nothing(village):
    before = on_disk()
    with pytest.raises(ZeroDivisionError), files.create(village.operator.pk, NAME) as file:
        file.write(b"x" * 2 * BLOCK)
        1 / 0  # noqa: B018
    assert on_disk() == before
    assert not StoredFile.objects.exists()


@pytest.mark.req("P-5.4")
@pytest.mark.django_db
def test_a_full_disk_is_said_in_words_and_leaves_nothing(village, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = on_disk()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(files.DiskFull, match="磁盘空间不足"), files.create(village.operator.pk, NAME) as file:
        file.write(b"x")
    assert on_disk() == before
    assert not StoredFile.objects.exists()


@pytest.mark.req("P-5.4", "SEC-8", "SEC-18")
@pytest.mark.django_db
def test_the_owner_downloads_a_file_and_the_log_tells(village, stored):
    response = village.client.get(f"/files/{stored.pk}/")
    assert b"".join(response.streaming_content).decode() == "林样例,16000000001"
    assert "filename*=utf-8''%E5%90%8D%E5%8D%95%202026.xlsx" in response["Content-Disposition"]
    assert response["Content-Length"] == str(stored.size)
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Cache-Control"] == "no-store"
    [line] = LogEntry.objects.filter(act="下载")
    assert (line.operator, line.object_id, line.label) == (village.operator.pk, str(stored.pk), NAME)


@pytest.mark.req("P-5.4", "SEC-7")
@pytest.mark.django_db
def test_a_file_of_somebody_else_does_not_exist(district, stored):
    assert district.client.get(f"/files/{stored.pk}/").status_code == 404
    assert not LogEntry.objects.filter(act="下载").exists()


@pytest.mark.req("P-5.4", "SEC-18")
@pytest.mark.django_db
def test_an_expired_file_is_refused_at_once_and_gone_from_disk_at_the_next_cleaning(
    village, stored, django_capture_on_commit_callbacks
):
    StoredFile.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert village.client.get(f"/files/{stored.pk}/").status_code == 404
    with django_capture_on_commit_callbacks(execute=True):
        files.clean_up(village.actor, None, None)
    assert not StoredFile.objects.exists()
    assert not files.place(stored.pk).exists()


@pytest.mark.req("P-5.4", "SEC-18")
@pytest.mark.django_db
def test_a_file_whose_remover_was_killed_after_its_row_is_gone_from_disk_as_well(village, stored):
    key, path = stored.pk, files.place(stored.pk)
    files.remove(stored)  # and killed before what follows the end of the transaction
    assert path.exists()
    assert village.client.get(f"/files/{key}/").status_code == 404
    os.utime(path, (0, 0))
    files.clean_up(village.actor, None, None)
    assert not path.exists()


@pytest.mark.req("P-5.4", "SEC-18")
@pytest.mark.django_db
def test_what_a_killed_process_left_half_written_is_cleaned_up(village, stored):
    left = files.place(stored.pk).with_name("half.new")
    left.write_bytes(b"x")
    files.clean_up(village.actor, None, None)
    assert left.exists(), "somebody may still be writing it"
    os.utime(left, (0, 0))
    files.clean_up(village.actor, None, None)
    assert not left.exists()
    assert files.place(stored.pk).exists()

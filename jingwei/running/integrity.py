"""Files that were changed behind the platform's back are noticed (防篡改, SEC-20).

A manifest in JINGWEI_HOME lists the SM3 digest (GB/T 32905) of every file of the program and of every file
that browsers get, and the release they are, under a MAC with the signing key. It is made at the first start
and when the release has changed (`is_upgraded`), and otherwise only by an operator.
"""

import hmac
import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC
from django.conf import settings
from django.core.exceptions import ValidationError

from jingwei.base import audit
from jingwei.running.releases import Release, this_release

PROGRAM, SERVED = "program", "served"  # the parts of the manifest
MOST_TOLD = 20  # differences in words
KNOWN_SECONDS = 60  # that `is_intact` goes by what it saw
_kept = {"until": 0.0, "intact": True}


def _manifest() -> Path:
    return settings.JINGWEI_HOME / "integrity.json"


def _files(part) -> Iterable[tuple[str, Path]]:
    root = settings.PACKAGE if part == PROGRAM else Path(settings.STATIC_ROOT)
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            yield path.relative_to(root).as_posix(), path


def _digests(part) -> dict[str, str]:
    found = {}
    for name, path in _files(part):
        digest = hashes.Hash(hashes.SM3())
        digest.update(path.read_bytes())
        found[name] = digest.finalize().hex()
    return found


def _mac(content) -> str:
    signed = HMAC(settings.SECRET_KEY.encode(), hashes.SM3())
    signed.update(b"jingwei integrity" + json.dumps(content, sort_keys=True).encode())
    return signed.finalize().hex()


def _listed() -> dict | None:
    """The manifest's "release" and "parts"; None if there is none, ValidationError if it is not ours."""
    try:
        content = json.loads(_manifest().read_text())
        mac = content.pop("mac")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, AttributeError, TypeError):
        content, mac = {}, ""
    if not hmac.compare_digest(_mac(content), mac):
        raise ValidationError(f"文件摘要清单 {_manifest()} 被改动过，或不是用本机的签名密钥生成的")
    return content


def make() -> Release:
    """Take the files as they are now; the manifest is replaced in one step. Returns their release."""
    release = this_release(_files(PROGRAM))
    content = {"release": asdict(release), "parts": {part: _digests(part) for part in (PROGRAM, SERVED)}}
    draft = _manifest().with_suffix(".new")
    draft.write_text(json.dumps(content | {"mac": _mac(content)}, indent=1))
    draft.replace(_manifest())
    _kept["until"] = 0.0
    return release


def listed_release() -> Release | None:
    """The release whose files are listed; None if no manifest of ours lists any."""
    try:
        listed = _listed()
    except ValidationError:
        return None
    return listed and Release(**listed["release"])


def is_upgraded(*, on_purpose) -> bool:
    """Whether another release than the one listed has been put in place.

    It has where the program is, to the byte, what another commit holds. When an operator takes the step of an
    upgrade `on_purpose`, another number of the version suffices. Files that changed within a release have not
    been upgraded, whoever asks.
    """
    before = listed_release()
    if not before:
        return False
    now = this_release(_files(PROGRAM))
    return bool(now.commit and now.commit != before.commit) or (on_purpose and now.version != before.version)


def is_made() -> bool:
    """Whether this machine has a manifest."""
    return _manifest().exists()


def differences() -> list[str]:
    """Each file that is not as listed, in words; empty if all are."""
    try:
        listed = _listed()
    except ValidationError as refusal:
        return refusal.messages
    if listed is None:
        return ["还没有文件摘要清单"]
    told = []
    for part, before in listed["parts"].items():
        now = _digests(part)
        where = "程序" if part == PROGRAM else "静态文件"
        told += [f"{where} {name} 缺少" for name in before.keys() - now.keys()]
        told += [f"{where} {name} 多出" for name in now.keys() - before.keys()]
        told += [f"{where} {name} 被修改" for name in before.keys() & now.keys() if before[name] != now[name]]
    return sorted(told)


def is_intact() -> bool:
    """Whether all files are as listed, as seen within the last minute."""
    if _kept["until"] < time.monotonic():
        _kept["intact"] = not differences()
        _kept["until"] = time.monotonic() + KNOWN_SECONDS
    return _kept["intact"]


def verify(actor) -> list[str]:
    """`differences`; each time there are some, a line in the operation log says so."""
    found = differences()
    if found:
        audit.record(
            actor,
            "文件校验",
            resource="integrity",
            label="程序和静态文件",
            result="失败",
            reason=in_words(found),
        )
    return found


def in_words(found) -> str:
    """Differences as one text."""
    more = f"等 {len(found)} 处" if len(found) > MOST_TOLD else ""
    return "；".join(found[:MOST_TOLD]) + more


def verify_files(actor, job, report):
    """Kind of job: compare the files of the worker's machine; the job fails where they differ."""
    if found := verify(actor):
        raise ValidationError(f"文件与登记的摘要不一致：{in_words(found)}")
    return {"message": "程序和静态文件与登记的摘要一致。"}

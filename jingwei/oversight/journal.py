"""The journal of erasures: what no restored backup may bring back (P-4.6, SEC-17, SEC-21).

A file beside the uploads, which all machines share, outside of the database: when a backup from before comes
back, it is still there, and `jingwei restore` erases again what it tells. A line is a code and JSON; the code
(SM4-CMAC) binds the line to all before it. A line is on the disk before its erasure is committed, so one may
be there of an erasure that comes later, but never is one missing. Of people it has keyed digests, no clear
text. `jingwei backup` keeps a copy beside the backups.
"""

import fcntl
import hmac
import json
import os
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from jingwei.base.crypto import provider

NAME = "erasures.journal"
PURPOSE = "oversight.journal"  # of the key of the codes
_BEGINNING = "0" * 32
NONE = [0, _BEGINNING]  # the tip of an empty journal


class Broken(Exception):
    """A journal is not as it was written; in words."""


@dataclass(frozen=True)
class Journal:
    """The entries of a journal, and the code of each."""

    entries: list[dict]
    codes: list[str]

    @property
    def tip(self) -> list:
        """How many entries there are and the code of the last: whoever knows it knows a shortened journal."""
        return [len(self.codes), self.codes[-1]] if self.codes else NONE

    def has(self, tip: list) -> bool:
        """Whether this is that journal or one that goes on from it."""
        count, code = tip
        return count <= len(self.codes) and [_BEGINNING, *self.codes][count] == code


def place() -> Path:
    """The journal of this instance."""
    return settings.JINGWEI_FILES / NAME


def append(*entries: dict):
    """Add entries, safe on the disk when this returns. OSError if not: then nothing may be erased."""
    place().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(place(), os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lines = file.read().split(b"\n")
        # What a kill cut off in the middle of a line belongs to no erasure.
        file.seek(-len(lines.pop()), os.SEEK_END)
        file.truncate()
        code = lines[-1].split()[0].decode() if lines else _BEGINNING
        for entry in entries:
            text = json.dumps(entry)
            code = _code(code, text)
            file.write(f"{code} {text}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> Journal:
    """A journal, all of whose lines are as they were written; without a file an empty one. Broken, else."""
    entries, codes, before = [], [], _BEGINNING
    lines = path.read_text("ascii").splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, 1):
        if not line.endswith("\n"):
            break  # cut off by a kill
        code, _, text = line.rstrip("\n").partition(" ")
        if not hmac.compare_digest(code, _code(before, text)):
            raise Broken(f"删除记录 {path} 的第 {number} 行被改动过，或不是用现在的密钥环写的")
        entries.append(json.loads(text))
        codes.append(code)
        before = code
    return Journal(entries, codes)


def _code(before, text):
    [tag] = provider().mac(PURPOSE, [f"{before} {text}".encode()])
    return tag.tobytes().hex()

"""Which release of the program this is (SEC-20)."""

import hashlib
import subprocess
from dataclasses import dataclass
from importlib.metadata import version

from django.conf import settings


@dataclass(frozen=True)
class Release:
    """A release by its number; `commit` is the one whose files these are, to the byte, or empty."""

    version: str
    commit: str

    def __str__(self):
        return f"{self.version}（{self.commit[:12]}）" if self.commit else self.version


def this_release(files) -> Release:
    """The release that the program's `files`, pairs of a name and its path, are."""
    return Release(version("jingwei"), _commit(dict(files)))


def _commit(files):
    """The commit checked out, if it holds these files and no other; what somebody changed is no release."""
    root = settings.PACKAGE.parent
    if not (root / ".git").exists():
        return ""
    # The folder is named: a program that root checked out is read by the user of the service, too.
    git = ["git", f"--git-dir={root / '.git'}"]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        commit = head.stdout.strip()
        listing = subprocess.run(
            [*git, "ls-tree", "-r", "-z", commit, f"{settings.PACKAGE.name}/"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    entries = (entry.split("\t") for entry in listing.stdout.split("\0") if entry)
    held = {name.partition("/")[2]: words.split()[2] for words, name in entries}
    # Not asked of git's index, which can be told to overlook a file.
    return commit if held == {name: _blob(path.read_bytes()) for name, path in files.items()} else ""


def _blob(content):
    """The name that git gives a content."""
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()

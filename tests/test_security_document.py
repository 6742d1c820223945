"""The table of docs/security.md says what is true."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def test_every_statement_of_the_security_document_has_its_tests_and_its_place_in_the_code():
    found = subprocess.run(
        [sys.executable, PROJECT / "tools" / "security.py", "--check"], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr

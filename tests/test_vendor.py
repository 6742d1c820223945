"""The vendored browser files are those of the manifest and ask no other host."""

import subprocess
import sys
from pathlib import Path

import pytest

VENDOR = Path(__file__).parent.parent / "tools" / "vendor.py"


@pytest.mark.req("P-10.5", "CL-7.1")
def test_the_vendored_files_are_as_listed():
    checked = subprocess.run([sys.executable, VENDOR, "--check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout

"""The settings under test: the real ones, on an instance of their own in a temporary folder."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# The workers of one run share the folder that its main process made.
if "PYTEST_XDIST_WORKER" not in os.environ:
    for name in [name for name in os.environ if name == "DATABASE_URL" or name.startswith("JINGWEI_")]:
        del os.environ[name]
    # In memory where there is room: a database that is thrown away need not wait for a disk.
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 4 * 2**30
    os.environ["JINGWEI_HOME"] = tempfile.mkdtemp(prefix="jingwei-test-", dir=memory if roomy else None)
    atexit.register(shutil.rmtree, os.environ["JINGWEI_HOME"], ignore_errors=True)

# A form cleans a row: handing it to another thread takes twice the time (jingwei.wsgi).
os.environ.setdefault("POLARS_MAX_THREADS", "1")

from jingwei.settings import *  # noqa: E402, F403

# Tests ask for single files; the collected and hashed ones have a test of their own.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
STATIC_ROOT.mkdir(exist_ok=True)  # noqa: F405

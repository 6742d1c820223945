"""Where what attachments hold lies: in a folder or an S3-compatible bucket, by one setting (P-5.6, SEC-18).

`settings.JINGWEI_STORAGE` is a folder or ``s3://bucket/prefix?endpoint=https://…&region=…``; account and key
of a bucket come from the places where boto3 looks, such as AWS_ACCESS_KEY_ID. What is stored comes sealed.
"""

import errno
import io
import os
import tempfile
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError

from jingwei.desk.files import FULL, DiskFull


class Unreachable(ValidationError):
    """The store gives no answer, or refuses."""

    def __init__(self):
        super().__init__("附件存储暂时不可用，请稍后再试；仍不成功时请联系系统管理员。")


def store():
    """The store of this instance."""
    return _store(str(settings.JINGWEI_STORAGE))


@cache
def _store(address):
    return Bucket(address) if address.startswith("s3://") else Folder(Path(address))


class Folder:
    """A folder of this machine, or one that all machines share."""

    def __init__(self, root: Path):
        self.root = root

    def put(self, name: str, content: bytes):
        """Store it whole or not at all."""
        path = self.place(name)
        draft = None
        try:
            for folder in (self.root, path.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
            descriptor, draft = tempfile.mkstemp(dir=path.parent, suffix=".new")
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            Path(draft).rename(path)
        except OSError as error:
            if draft:
                Path(draft).unlink(missing_ok=True)
            raise (DiskFull() if error.errno in FULL else Unreachable()) from error

    def open(self, name: str):
        """A file object with the content; FileNotFoundError if there is none."""
        return open(self.place(name), "rb")

    def remove(self, names):
        """Remove these; what is not there is gone already. A draft that a kill has left goes along."""
        for name in names:
            self.place(name).unlink(missing_ok=True)

    def place(self, name: str) -> Path:
        """Where it lies."""
        return self.root / name[:2] / name


class Bucket:
    """A bucket that speaks S3."""

    def __init__(self, address: str):
        import boto3  # only where the setting asks for it: it takes its time to load
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        parts = urlsplit(address)
        options = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.bucket, self.prefix = parts.netloc, parts.path.strip("/")
        self.failures = (BotoCoreError, ClientError)
        self.client = boto3.client(
            "s3",
            endpoint_url=options.get("endpoint"),
            region_name=options.get("region") or "us-east-1",
            config=Config(connect_timeout=5, read_timeout=30, retries={"max_attempts": 3}),
        )

    def put(self, name: str, content: bytes):
        """As of a folder."""
        self._ask(self.client.upload_fileobj, io.BytesIO(content), self.bucket, self._key(name))

    def open(self, name: str):
        """As of a folder."""
        answer = self._ask(self.client.get_object, Bucket=self.bucket, Key=self._key(name))
        return io.BufferedReader(answer["Body"])  # a bare body may give less than it is asked for

    def remove(self, names):
        """As of a folder."""
        keys = [{"Key": self._key(name)} for name in names]
        answer = self._ask(self.client.delete_objects, Bucket=self.bucket, Delete={"Objects": keys})
        if answer.get("Errors"):
            raise Unreachable()

    def _key(self, name):
        return f"{self.prefix}/{name}".lstrip("/")

    def _ask(self, call, *args, **options):
        try:
            return call(*args, **options)
        except self.failures as error:
            code = getattr(error, "response", {}).get("Error", {}).get("Code")
            if code == "NoSuchKey":
                raise FileNotFoundError(errno.ENOENT, code) from error
            raise Unreachable() from error

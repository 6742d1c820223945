"""Where what attachments hold lies: in a folder or an S3-compatible bucket, by one setting (P-5.6, SEC-18).

`settings.JINGWEI_STORAGE` is a folder or ``s3://bucket/prefix?endpoint=https://…&region=…``; account and key
of a bucket come from the places where boto3 looks, such as AWS_ACCESS_KEY_ID. What is stored comes sealed.
"""

import errno
import io
import os
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
        path, draft = self._places(name)
        try:
            for folder in (self.root, path.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            draft.rename(path)
        except OSError as error:
            raise (DiskFull() if error.errno in FULL else Unreachable()) from error

    def open(self, name: str):
        """A file object with the content; FileNotFoundError if there is none."""
        return open(self._places(name)[0], "rb")

    def remove(self, names):
        """Remove these; what is not there is gone already. A draft that a kill has left goes along."""
        for name in names:
            for path in self._places(name):
                path.unlink(missing_ok=True)

    def _places(self, name):
        """Where it lies, and where it is written."""
        path = self.root / name[:2] / name
        return path, path.with_name(f"{name}.new")


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
        # In one request, which counts whole or not at all: one in parts that is cut off leaves them behind.
        self._ask(self.client.put_object, Bucket=self.bucket, Key=self._key(name), Body=content)

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

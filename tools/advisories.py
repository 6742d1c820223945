"""Advisories out of a file, for networks that reach no service: OSV's query, answered on loopback.

The file is OSV's export of one ecosystem, `PyPI/all.zip`: records of the OSV schema 1.x, one JSON file each.
Affected is, as the schema has it, a version that a record lists or that lies in one of the record's ranges.
"""

import contextlib
import json
import threading
import zipfile
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version


class Advisories:
    """The records of an export; ValueError or OSError if the file is none. `latest`: when it last changed."""

    def __init__(self, path):
        self._of = {}
        changed = []
        try:
            with zipfile.ZipFile(path) as export:
                for name in export.namelist():
                    record = json.loads(export.read(name))
                    changed.append(record["modified"])
                    for package in {_package(affected) for affected in record.get("affected", [])}:
                        self._of.setdefault(package, []).append(record)
        except (zipfile.BadZipFile, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is no export of advisories: {error!r}") from None
        if not changed:
            raise ValueError(f"{path} holds no advisories")
        self.latest = datetime.fromisoformat(max(changed))

    def about(self, name, version):
        """The records that concern this version of a package of PyPI."""
        package = ("PyPI", canonicalize_name(name))
        return [
            record
            for record in self._of.get(package, [])
            if any(
                _package(affected) == package and _concerns(affected, Version(version))
                for affected in record["affected"]
            )
        ]

    @contextlib.contextmanager
    def served(self):
        """Answer queries of the OSV protocol; the address."""

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler):  # noqa: N805
                asked = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
                records = self.about(asked["package"]["name"], asked["version"])
                handler.send_response(200)
                handler.end_headers()
                handler.wfile.write(json.dumps({"vulns": records} if records else {}).encode())

            def log_message(handler, *_):  # noqa: N805
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            server.server_close()


def _package(affected):
    return affected["package"]["ecosystem"], canonicalize_name(affected["package"]["name"])


def _concerns(affected, version):
    if str(version) in affected.get("versions", []):
        return True
    spans = [span["events"] for span in affected.get("ranges", []) if span["type"] == "ECOSYSTEM"]
    return any(_lies_in(events, version) for events in spans)


def _lies_in(events, version):
    """Whether the last event up to a version leaves it affected."""
    try:
        steps = sorted((Version(at), kind) for event in events for kind, at in event.items())
    except InvalidVersion:  # of before PEP 440; such a record lists its versions
        return False
    within = False
    for at, kind in steps:
        if kind == "introduced" and version >= at:
            within = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            within = False
    return within

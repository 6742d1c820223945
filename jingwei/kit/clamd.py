"""Asking a clamd whether a file holds a virus, by its INSTREAM command (P-5.6)."""

import socket
from urllib.parse import urlsplit

_CHUNK = 1 << 16
_SECONDS = 30
_LONGEST_ANSWER = 4096


class Unavailable(OSError):
    """The scanner gave no verdict; the file is neither good nor bad."""


def scan(address: str, data: bytes) -> str:
    """The name of the virus in `data`, "" if there is none. `address`: tcp://host:3310 or unix:/path."""
    try:
        with _connected(address) as connection:
            connection.sendall(b"zINSTREAM\0")
            for start in range(0, len(data), _CHUNK):
                chunk = data[start : start + _CHUNK]
                connection.sendall(len(chunk).to_bytes(4, "big") + chunk)
            connection.sendall(bytes(4))
            answer = b""
            while not answer.endswith(b"\0") and len(answer) < _LONGEST_ANSWER:
                part = connection.recv(_LONGEST_ANSWER)
                if not part:
                    break
                answer += part
    except OSError as error:
        raise Unavailable(str(error)) from error
    said = answer.rstrip(b"\0\n").decode("utf-8", "replace").removeprefix("stream: ")
    if said == "OK":
        return ""
    if said.endswith(" FOUND"):
        return said.removesuffix(" FOUND")
    raise Unavailable(said or "no answer")


def _connected(address):
    parts = urlsplit(address)
    if parts.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_SECONDS)
        try:
            connection.connect(parts.path)
        except OSError:
            connection.close()
            raise
        return connection
    return socket.create_connection((parts.hostname, parts.port or 3310), timeout=_SECONDS)

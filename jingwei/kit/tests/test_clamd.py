"""What a scanner of viruses says of a file, by its own protocol, from a stand-in that speaks it."""

import socketserver
import threading
from contextlib import contextmanager

import pytest

from jingwei.kit import clamd

EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
pytestmark = pytest.mark.req("P-5.6")


class Scanner(socketserver.StreamRequestHandler):
    """One conversation with clamd: zINSTREAM, chunks with their lengths, an empty one; then the verdict."""

    def handle(self):
        assert self.rfile.read(10) == b"zINSTREAM\0"
        content = b""
        while size := int.from_bytes(self.rfile.read(4), "big"):
            content += self.rfile.read(size)
        self.server.seen.append(content)
        if self.server.answer:
            self.wfile.write(self.server.answer)
        else:
            self.wfile.write(b"stream: Eicar-Test-Signature FOUND\0" if EICAR in content else b"stream: OK\0")


@contextmanager
def scanner(answer=b""):
    """A scanner on a port of this machine, with what it has `seen`; `answer` instead of a verdict."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Scanner) as server:
        server.seen, server.answer = [], answer
        server.address = f"tcp://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def test_a_virus_is_named_and_a_clean_file_is_clean():
    large = bytes(200_000)
    with scanner() as server:
        assert clamd.scan(server.address, EICAR + large) == "Eicar-Test-Signature"
        assert clamd.scan(server.address, large) == ""
        assert clamd.scan(server.address, b"") == ""
        assert server.seen == [EICAR + large, large, b""]


@pytest.mark.parametrize("answer", [b"INSTREAM size limit exceeded. ERROR\0", b"OK and more\0", b"stream: "])
def test_what_is_no_verdict_is_none(answer):
    with scanner(answer) as server, pytest.raises(clamd.Unavailable):
        clamd.scan(server.address, b"x")


def test_a_scanner_that_is_away_gives_no_verdict():
    for address in ("tcp://127.0.0.1:9", "unix:/nowhere/clamd.ctl"):
        with pytest.raises(clamd.Unavailable):
            clamd.scan(address, b"x")


def test_a_scanner_can_be_asked_by_a_socket_of_this_machine(tmp_path):
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "clamd.ctl"), Scanner) as server:
        server.seen, server.answer = [], b""
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        assert clamd.scan(f"unix:{tmp_path}/clamd.ctl", b"x") == ""
        server.shutdown()

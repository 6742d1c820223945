"""Gateways of the tests: local servers that really speak the protocols, and misbehave when told to.

`fault(sms)` is asked for every message that comes and names what goes wrong with it:

    ""        nothing: it is taken and answered
    before    the connection breaks before it is taken
    after     it is taken, and the connection breaks before the answer
    late      it is taken, and the answer comes after the sender has given up
    busy      it is not taken now
    refused   it is never taken
"""

import hashlib
import json
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, ThreadingTCPServer

from jingwei.kit import signing

SECRET = "shared secret"  # noqa: S105
TOO_LATE = 1.0  # seconds; the senders under test wait half of it


@dataclass
class StandIn:
    """What a gateway of the tests has seen."""

    fault: object = lambda sms: ""
    down: bool = False
    phones: list = field(default_factory=list)  # (number, text) of each SMS sent, in order
    tries: int = 0  # messages that came, repeats included
    sessions: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self):
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    @property
    def port(self):
        return self.server.server_address[1]

    def texts(self, number=None):
        """Texts of the SMS sent, to one number or to all."""
        return [text for to, text in self.phones if number in (None, to)]


class HttpStandIn(StandIn):
    """The HTTP gateway of jingwei.messages.gateways.http. The same key is one SMS."""

    def __init__(self, **options):
        super().__init__(**options)
        self.taken = {}  # key: body
        self.events = []  # waiting to be fetched
        self.fetched = []
        self.forgets = False  # what was acknowledged comes again
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def url(self):
        return f"http://jingwei@127.0.0.1:{self.port}/gate"

    def report(self, uid, *, event, delivered=True, code="DELIVRD"):
        receipt = {"event": event, "kind": "receipt", "id": uid, "delivered": delivered, "code": code}
        self.events.append(receipt | {"at": "2026-03-01T09:00:00+08:00"})

    def _handler(standin):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def setup(self):
                standin.sessions += 1
                super().setup()

            def do_GET(self):
                self._serve(b"")

            def do_POST(self):
                self._serve(self.rfile.read(int(self.headers["Content-Length"])))

            def _serve(self, body):
                if standin.down:
                    return self._break()
                signed = {"method": self.command, "target": self.path, "body": body, "now": time.time()}
                signed |= {"time": self.headers["X-Jingwei-Time"], "nonce": self.headers["X-Jingwei-Nonce"]}
                account, given = self.headers["X-Jingwei-Account"], self.headers["X-Jingwei-Signature"]
                if account != "jingwei" or not signing.is_signed(SECRET.encode(), given, **signed):
                    return self._answer(401, {"error": "签名不符"})
                data = json.loads(body) if body else {}
                match self.command, self.path:
                    case "GET", "/gate/events":
                        return self._answer(200, {"events": standin.events[:100]})
                    case "POST", "/gate/events/taken":
                        standin.fetched += data["events"]
                        kept = [e for e in standin.events if e["event"] not in data["events"]]
                        standin.events = standin.events if standin.forgets else kept
                        return self._answer(200, {})
                    case "POST", "/gate/messages":
                        return self._take(data)
                return self._answer(404, {})

            def _take(self, data):
                key = self.headers["Idempotency-Key"]
                with standin.lock:
                    standin.tries += 1
                    fault = standin.fault(data)
                    if fault in ("", "after", "late") and key not in standin.taken:
                        standin.taken[key] = data
                        standin.phones.append((data["to"], data["text"]))
                if standin.taken.get(key, data) != data:
                    return self._answer(409, {"error": "同一编号的内容不同"})
                if fault in ("before", "after"):
                    return self._break()
                if fault == "busy":
                    return self._answer(429, {"error": "请稍后再试"})
                if fault == "refused":
                    return self._answer(422, {"error": "号码在黑名单中"})
                if fault == "late":
                    time.sleep(TOO_LATE)
                self._answer(200, {"id": f"G{len(standin.taken)}"})

            def _break(self):
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

            def _answer(self, status, data):
                body = json.dumps(data).encode()
                with suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

        return Handler


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class CmppStandIn(StandIn):
    """An ISMG of CMPP 2.0, read by the field offsets of the specification.

    `remembers`: a sequence number it has taken is refused with 3 on any later connection. `reports`: it sends
    a status report for each message, "early" ones before the answer, none while it is `holding` them. A
    DELIVER without answer comes again.
    """

    def __init__(self, *, remembers=False, reports="", **options):
        super().__init__(**options)
        self.remembers, self.reports = remembers, reports
        self.submits = []  # dicts of the fields
        self.sequences = {}  # sequence number: Msg_Id
        self.parts = {}  # (number, reference): {part: text}
        self.waiting = []  # bodies of DELIVERs to send
        self.acknowledged = []
        self.holding = False
        self.active_tests = self.terminated = 0
        self.server = _Server(("127.0.0.1", 0), self._handler())

    def url(self, **options):
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"cmpp://901234@127.0.0.1:{self.port}?src=10690001&service=JW&{query}"

    def reply(self, number, text, *, to="10690001", msg_id=b"\x11" * 8):
        """Somebody answers by SMS."""
        content = text.encode("utf-16-be")
        self.waiting.append(deliver(msg_id, to, 8, number, 0, content))

    def _handler(standin):
        class Handler(BaseRequestHandler):
            def setup(self):
                standin.sessions += 1
                self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.unanswered = {}
                self.writing = threading.Lock()
                self.sequence = 0

            def handle(self):
                if standin.down:
                    return
                with suppress(OSError, ConnectionError):
                    while True:
                        command, sequence, body = self.read()
                        match command:
                            case 0x1:
                                self.connect(sequence, body)
                            case 0x2:
                                standin.terminated += 1
                                self.write(0x80000002, sequence, b"")
                                return
                            case 0x4:
                                self.submit(sequence, body)
                            case 0x8:
                                standin.active_tests += 1
                                self.write(0x80000008, sequence, b"\0")
                            case 0x80000005:
                                assert body[8] == 0
                                standin.acknowledged.append(self.unanswered.pop(sequence))
                        self.push()

            def finish(self):
                standin.waiting = [*self.unanswered.values(), *standin.waiting]

            def read(self):
                head = self.exactly(12)
                length, command, sequence = struct.unpack(">III", head)
                return command, sequence, self.exactly(length - 12)

            def exactly(self, size):
                data = b""
                while len(data) < size:
                    piece = self.request.recv(size - len(data))
                    if not piece:
                        raise ConnectionError
                    data += piece
                return data

            def write(self, command, sequence, body):
                pdu = struct.pack(">III", 12 + len(body), command, sequence) + body
                with self.writing:
                    # In two pieces: a reader must not count on getting a message whole.
                    self.request.sendall(pdu[:5])
                    self.request.sendall(pdu[5:])

            def connect(self, sequence, body):
                account, proof, version, stamp = body[:6], body[6:22], body[22], body[23:27]
                told = f"{int.from_bytes(stamp, 'big'):010d}".encode()
                wanted = hashlib.md5(b"901234" + bytes(9) + SECRET.encode() + told).digest()
                good = account == b"901234" and proof == wanted and version == 0x20
                status = bytes([0 if good else 3])
                answer = hashlib.md5(status + proof + SECRET.encode()).digest()
                self.write(0x80000001, sequence, status + answer + b"\x20")

            def submit(self, sequence, body):
                sms = fields_of(body)
                with standin.lock:
                    standin.tries += 1
                    fault = standin.fault(sms)
                    if fault == "before":
                        self.request.close()
                        raise ConnectionError
                    result = {"busy": 8, "refused": 9}.get(fault, 0)
                    msg_id = struct.pack(">Q", 0x0A00000000000000 + len(standin.submits) + 1)
                    if result == 0 and standin.remembers and sequence in standin.sequences:
                        result, msg_id = 3, bytes(8)
                    if result == 0:
                        standin.sequences[sequence] = msg_id
                        standin.submits.append(sms)
                        standin.joined(sms)
                        if standin.reports:
                            standin.waiting.append(report(msg_id, sms["src"], sms["to"]))
                if fault == "after":
                    self.request.close()
                    raise ConnectionError
                if standin.reports == "early":
                    self.push()
                if fault == "late":
                    time.sleep(TOO_LATE)
                self.write(0x80000004, sequence, (bytes(8) if result else msg_id) + bytes([result]))

            def push(self):
                while standin.waiting and not standin.holding:
                    body = standin.waiting.pop(0)
                    self.sequence += 1
                    self.unanswered[self.sequence] = body
                    self.write(0x5, self.sequence, body)

        return Handler

    def joined(self, sms):
        """Put the parts of a long message together as a phone does."""
        if sms["parts"] == 1:
            self.phones.append((sms["to"], sms["text"]))
            return
        parts = self.parts.setdefault((sms["to"], sms["reference"]), {})
        parts[sms["part"]] = sms["text"]
        if len(parts) == sms["parts"]:
            self.phones.append((sms["to"], "".join(parts[part] for part in sorted(parts))))
            del self.parts[sms["to"], sms["reference"]]


def fields_of(body):
    """The fields of a SUBMIT, by offset: CMPP 2.0, 7.4.3.1."""
    length = body[138]
    content = body[139 : 139 + length]
    assert len(body) == 139 + length + 8
    assert body[:8] == bytes(8)
    sms = {
        "parts": body[8],
        "part": body[9],
        "registered": body[10],
        "service": body[12:22].rstrip(b"\0").decode(),
        "udhi": body[45],
        "format": body[46],
        "sp": body[47:53].decode(),
        "src": body[95:116].rstrip(b"\0").decode(),
        "receivers": body[116],
        "to": body[117:138].rstrip(b"\0").decode(),
        "reference": None,
    }
    if sms["udhi"]:
        assert content[:3] == b"\x05\x00\x03" and (content[4], content[5]) == (sms["parts"], sms["part"])
        sms["reference"], content = content[3], content[6:]
    sms["text"] = content.decode("utf-16-be")
    return sms


def report(msg_id, dest, to, code=b"DELIVRD"):
    """The body of a DELIVER that carries a status report."""
    about = msg_id + code + b"2603010900" * 2 + to.encode().ljust(21, b"\0") + bytes(4)
    return deliver(msg_id, dest, 0, to, 1, about)


def deliver(msg_id, dest, form, sender, registered, content):
    """The body of a DELIVER: CMPP 2.0, 7.4.5.1."""
    return b"".join(
        [
            msg_id,
            dest.encode().ljust(21, b"\0"),
            b"JW".ljust(10, b"\0"),
            bytes([0, 0, form]),
            sender.encode().ljust(21, b"\0"),
            bytes([registered, len(content)]),
            content,
            bytes(8),
        ]
    )

"""China Mobile's peer-to-peer protocol CMPP 2.0, as a service provider (SP) speaks it to a gateway (ISMG).

What it can promise: a SUBMIT has no key of its own. The sequence number is the nearest thing; this client
gives a message the same numbers at every try, and the protocol knows the answer 3, number repeated. Whether a
gateway remembers numbers beyond one connection is between it and its SPs. Where that is agreed
(repeats=refused in the address), a message whose answer was lost is handed over again under its numbers.
Where it is not, repeating might send it twice, so it stays UNSURE until a status report names it or an
operator decides. A report names it even though the gateway's id is unknown: by the receiver and, with
extension digits granted, by the tail of the sender's number. CMPP_QUERY gives totals of a day only and
decides nothing about one message.
"""

import math
import socket
import struct
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import md5
from urllib.parse import parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo

from django.core.exceptions import ImproperlyConfigured

from jingwei.kit.sms import split
from jingwei.messages.gateways import (
    ACCEPTED,
    LATER,
    REFUSED,
    UNSENT,
    UNSURE,
    Answer,
    GatewayDown,
    Receipt,
    Reply,
)

CONNECT, TERMINATE, SUBMIT, DELIVER, ACTIVE_TEST = 1, 2, 4, 5, 8
RESPONSE = 0x80000000
VERSION = 0x20
LONGEST_PDU = 4096
WINDOW = 16  # requests without an answer
ANSWER_SECONDS = 30
QUIET_SECONDS = 2  # a gateway that has sent nothing for so long has nothing to say
LISTEN_SECONDS = 30  # so that new messages need not wait for a long queue of receipts
BUSY_TRIES, BUSY_SECONDS = 10, 1
# A message has sixteen sequence numbers of its own; the last of each sixteen is for the other requests.
NUMBERS_PER_SMS = 16

SUBMIT_HEAD = struct.Struct(">8sBBBB10sB21sBBB6s2s6s17s17s21sB21sB")
DELIVER_HEAD = struct.Struct(">8s21s10sBBB21sBB")
REPORT = struct.Struct(">8s7s10s10s21sI")

REPEATED, BUSY = 3, 8
RESULTS = {
    1: "消息结构错",
    2: "命令字错",
    3: "消息序号重复",
    4: "消息长度错",
    5: "资费代码错",
    6: "超过最大信息长",
    7: "业务代码错",
    8: "流量控制错",
}
STATUSES = {1: "消息结构错", 2: "非法源地址", 3: "认证错", 4: "版本太高"}
REPORTS = {"DELIVRD": True, "ACCEPTD": None}  # every other word says that it was not delivered
TEXTS = {0: "ascii", 8: "utf-16-be", 15: "gb18030"}
SHANGHAI = ZoneInfo("Asia/Shanghai")


class ProtocolError(Exception):
    """What came is no CMPP."""


class CmppGateway:
    """`url`: cmpp://SP-id@host:7890?src=service number&service=its id&extension=digits&repeats=refused."""

    name = "cmpp"
    window = WINDOW

    def __init__(self, url: str, secret: str, answer_seconds=ANSWER_SECONDS, quiet_seconds=QUIET_SECONDS):
        address = urlsplit(url)
        options = {name: values[0] for name, values in parse_qs(address.query).items()}
        sp, src, service = unquote(address.username or ""), options.get("src", ""), options.get("service", "")
        digits = options.get("extension", "0")
        fits = (
            address.scheme == "cmpp"
            and 0 < len(sp) <= 6
            and len(service) <= 10
            and (sp + src + service + digits).isascii()
            and digits.isdecimal()
            and len(src) + int(digits) <= 20
        )
        if not fits:
            raise ImproperlyConfigured(
                "环境变量 JINGWEI_SMS_URL：应以 cmpp:// 开头，企业代码 1–6 位，业务代码最多 10 位，"
                "扩展位数为数字，服务号连同扩展位最多 20 位"
            )
        self.address = (address.hostname, address.port or 7890)
        self.sp, self.src, self.service, self.digits = sp.encode(), src, service.encode(), int(digits)
        self.secret = secret.encode()
        self.repeatable = options.get("repeats") == "refused"
        self.answer_seconds, self.quiet_seconds = answer_seconds, quiet_seconds

    def tail(self, number: int) -> str:
        """The digits after our own that the sender's number of a message ends with."""
        return str(number % 10**self.digits).zfill(self.digits) if self.digits else ""

    @contextmanager
    def open(self, take_in):
        try:
            connection = socket.create_connection(self.address, timeout=self.answer_seconds)
        except OSError as error:
            raise GatewayDown(f"连接不上短信网关（{error.strerror or error}）") from error
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = CmppSession(self, connection, take_in)
            session.sign_in()
            yield session
            session.sign_out()


class CmppSession:
    def __init__(self, gateway, connection, take_in):
        self.gateway, self.connection, self.take_in = gateway, connection, take_in
        self.received = b""
        self.control = 0

    def sign_in(self):
        stamp = f"{datetime.now(SHANGHAI):%m%d%H%M%S}"
        proof = md5(
            self.gateway.sp + bytes(9) + self.gateway.secret + stamp.encode(), usedforsecurity=False
        ).digest()
        try:
            asked = struct.pack(">6s16sBI", self.gateway.sp, proof, VERSION, int(stamp))
            body = self._answer(CONNECT, self._request(CONNECT, asked))
        except (OSError, ProtocolError) as error:
            raise GatewayDown(f"短信网关没有应答登录（{error}）") from error
        if len(body) < 17 or body[0]:
            reason = STATUSES.get(body[0], f"状态 {body[0]}") if body else "应答不完整"
            raise GatewayDown(f"短信网关拒绝登录：{reason}，请检查企业代码和密钥")
        if body[1:17] != md5(body[:1] + proof + self.gateway.secret, usedforsecurity=False).digest():
            raise GatewayDown("短信网关没有通过认证，未发送任何短信，请核对地址和密钥")

    def sign_out(self):
        with suppress(OSError, ProtocolError, GatewayDown):
            self._answer(TERMINATE, self._request(TERMINATE))

    def hand_over(self, batch):
        queue = deque(part for sms in batch for part in self._parts(sms))
        given = {sms.uid: [] for sms in batch}  # ids so far, of the messages without an answer
        sent, flying, busy, pause = set(), {}, 0, 0.0
        try:
            while queue or flying:
                while queue and len(flying) < WINDOW and time.monotonic() >= pause:
                    part = queue.popleft()
                    if part.uid in given:  # its message may have been refused by an earlier part
                        part.deadline = time.monotonic() + self.gateway.answer_seconds
                        flying[part.sequence] = part
                        sent.add(part.uid)
                        self._send(SUBMIT, part.sequence, part.body)
                if not (queue or flying):
                    break
                overdue = min((part.deadline for part in flying.values()), default=math.inf)
                resume = pause if queue and (pause > time.monotonic() or not flying) else math.inf
                try:
                    command, sequence, body = self._receive(min(overdue, resume))
                except TimeoutError:
                    if overdue <= time.monotonic():
                        raise
                    continue
                if command != SUBMIT | RESPONSE or sequence not in flying:
                    self._serve(command, sequence, body)
                    continue
                if len(body) < 9:
                    raise ProtocolError("应答不完整")
                part, result = flying.pop(sequence), body[8]
                if part.uid not in given:
                    continue
                if result == BUSY and busy < BUSY_TRIES:
                    busy, pause = busy + 1, time.monotonic() + BUSY_SECONDS
                    queue.appendleft(part)
                elif result == 0 or (result == REPEATED and part.again):
                    # The id of a repeated one need not be told; its report is known by number and tail.
                    given[part.uid].append("" if body[:8] == bytes(8) else body[:8].hex())
                    if len(given[part.uid]) == part.total:
                        yield Answer(part.uid, ACCEPTED, tuple(filter(None, given.pop(part.uid))))
                else:
                    error = f"{RESULTS.get(result, '其它错误')}（{result}）"
                    # Of a long message the gateway may have other parts: it can neither wait nor fail.
                    outcome = REFUSED if result != BUSY else LATER if part.total == 1 else UNSURE
                    yield Answer(part.uid, outcome, tuple(filter(None, given.pop(part.uid))), error)
        except (OSError, ProtocolError, GatewayDown) as error:
            said = f"与短信网关的连接中断（{error}）"
            for uid, ids in given.items():
                yield Answer(uid, UNSURE if uid in sent else UNSENT, tuple(filter(None, ids)), said)
            raise GatewayDown(said) from error

    def listen(self):
        """A sign of life from the gateway, and what it sends until it is quiet."""
        end = time.monotonic() + LISTEN_SECONDS
        try:
            self._answer(ACTIVE_TEST, self._request(ACTIVE_TEST))
            while time.monotonic() < end:
                try:
                    pdu = self._receive(time.monotonic() + self.gateway.quiet_seconds)
                except TimeoutError:
                    return
                self._serve(*pdu)
        except (OSError, ProtocolError) as error:
            raise GatewayDown(f"与短信网关的连接中断（{error}）") from error

    def _parts(self, sms):
        texts = split(sms.text)
        for index, text in enumerate(texts):
            content = text.encode("utf-16-be", "replace")
            if len(texts) > 1:
                content = bytes([5, 0, 3, sms.number % 256, len(texts), index + 1]) + content
            head = SUBMIT_HEAD.pack(
                bytes(8),  # Msg_Id, given by the gateway
                len(texts),  # Pk_total
                index + 1,  # Pk_number
                1,  # Registered_Delivery: a status report, please
                1,  # Msg_level
                self.gateway.service,
                2,  # Fee_UserType: the SP pays
                b"",  # Fee_terminal_Id
                0,  # TP_pId
                int(len(texts) > 1),  # TP_udhi
                8,  # Msg_Fmt: UCS2
                self.gateway.sp,
                b"01",  # FeeType: free for the receiver
                b"0",  # FeeCode
                b"",  # Valid_Time: as the gateway has it
                b"",  # At_Time: now
                (self.gateway.src + self.gateway.tail(sms.number)).encode("ascii"),
                1,  # DestUsr_tl
                sms.to.encode("ascii"),
                len(content),
            )
            number = (sms.number * NUMBERS_PER_SMS + index) % 2**32
            yield _Part(sms.uid, sms.attempt > 1, number, len(texts), head + content + bytes(8))

    def _request(self, command, body=b""):
        sequence = (self.control * NUMBERS_PER_SMS + NUMBERS_PER_SMS - 1) % 2**32
        self.control += 1
        self._send(command, sequence, body)
        return sequence

    def _answer(self, command, sequence):
        """The body of the answer to a request; what comes in between is served."""
        deadline = time.monotonic() + self.gateway.answer_seconds
        while True:
            got, number, body = self._receive(deadline)
            if (got, number) == (command | RESPONSE, sequence):
                return body
            self._serve(got, number, body)

    def _serve(self, command, sequence, body):
        """Do what the gateway asks; an answer that nobody waits for any more is nothing."""
        if command == DELIVER:
            news = read_deliver(body, self.gateway.src)
            if news:
                self.take_in(news)
            self._send(DELIVER | RESPONSE, sequence, body[:8].ljust(8, b"\0") + bytes([0 if news else 1]))
        elif command == ACTIVE_TEST:
            self._send(ACTIVE_TEST | RESPONSE, sequence, b"\0")
        elif command == TERMINATE:
            self._send(TERMINATE | RESPONSE, sequence)
            raise GatewayDown("短信网关要求断开连接")

    def _send(self, command, sequence, body=b""):
        self.connection.settimeout(self.gateway.answer_seconds)
        self.connection.sendall(struct.pack(">III", 12 + len(body), command, sequence) + body)

    def _receive(self, deadline):
        """(command, sequence, body) of the next PDU; TimeoutError at `deadline` (monotonic seconds)."""
        while True:
            if len(self.received) >= 12:
                length, command, sequence = struct.unpack_from(">III", self.received)
                if not 12 <= length <= LONGEST_PDU:
                    raise ProtocolError(f"消息长度 {length}")
                if len(self.received) >= length:
                    body, self.received = self.received[12:length], self.received[length:]
                    return command, sequence, body
            wait = deadline - time.monotonic()
            if wait <= 0:
                raise TimeoutError("超时")
            self.connection.settimeout(wait)
            piece = self.connection.recv(65536)
            if not piece:
                raise ConnectionError("对方关闭了连接")
            self.received += piece


@dataclass
class _Part:
    """One SUBMIT: a message, or one of the `total` parts of a long one."""

    uid: str
    again: bool  # an earlier attempt may have reached the gateway
    sequence: int
    total: int
    body: bytes
    deadline: float = 0.0  # for the answer, monotonic seconds


def read_deliver(body: bytes, src: str) -> Receipt | Reply | None:
    """What a DELIVER says, None if it is malformed. `src` is our number; digits behind it are the tail."""
    if len(body) < DELIVER_HEAD.size:
        return None
    given, dest, _, _, udhi, form, sender, registered, length = DELIVER_HEAD.unpack_from(body)
    content = body[DELIVER_HEAD.size : DELIVER_HEAD.size + length]
    tail = _word(dest).removeprefix(src)
    if registered == 1:
        if len(content) < REPORT.size:
            return None
        about, code, _, done, to, _ = REPORT.unpack_from(content)
        code = _word(code)
        return Receipt(
            event=f"{about.hex()}/{code}",
            delivered=REPORTS.get(code, False),
            code=code,
            gateway_id=about.hex(),
            to=_national(_word(to)),
            tail=tail,
            at=_time(_word(done)),
        )
    if udhi and content:
        content = content[content[0] + 1 :]  # a long reply comes part by part, each a reply of its own
    text = content.decode(TEXTS.get(form, "latin-1"), "replace").replace("\0", "")
    number = _national(_word(sender))
    return Reply(event=given.hex(), sender=number, text=text, tail=tail) if number else None


def _word(field):
    return field.split(b"\0")[0].decode("ascii", "replace").strip()


def _national(number):
    return number.removeprefix("+").removeprefix("86") if len(number) > 11 else number


def _time(text):
    """The instant of YYMMDDHHMM, Shanghai time; None if it is none."""
    try:
        return datetime.strptime(text, "%y%m%d%H%M").replace(tzinfo=SHANGHAI)
    except ValueError:
        return None

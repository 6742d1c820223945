"""An SMS gateway over HTTP: JSON, signed with HMAC-SM3, at most one SMS per idempotency key.

    POST <url>/messages      {"id", "to", "text"}, header Idempotency-Key: id
                             2xx {"id": the gateway's}: taken; 400, 409, 413, 422 {"error"}: never;
                             408, 425, 429, 5xx: later; anything else: the gateway does not serve us
    GET  <url>/events        {"events": [event…]}, the oldest first, until acknowledged
    POST <url>/events/taken  {"events": [the event's name…]}
    an event                 {"event": name, "kind": "receipt", "id", "delivered": true, false or null,
                              "code", "at"}
                             {"event": name, "kind": "reply", "id": or "", "from", "text", "at"}

The gateway may instead POST {"events": […]} to /gateway/sms/, signed the same way (jingwei.kit.signing). What
it has to promise: the same Idempotency-Key is one SMS, however often and however late it comes.
"""

import json
import re
import secrets
import time
from contextlib import closing, contextmanager
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from jingwei.kit import signing
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

TIMEOUT_SECONDS = 10
LISTEN_SECONDS = 30  # so that new messages need not wait for a long queue of receipts
LONGEST_ANSWER = 2**20  # bytes
NEVER = {400, 409, 413, 422}  # it is this message that the gateway does not want
UID = re.compile("[0-9a-f]{32}")
BUSY = {408, 425, 429}


class HttpGateway:
    """`url` is https://account@host/path; `secret` the shared key."""

    name = "http"
    repeatable = True
    window = 20  # one request after the other; all of them time out well before a claim runs out

    def __init__(self, url: str, secret: str, timeout: float = TIMEOUT_SECONDS):
        address = urlsplit(url)
        if address.scheme not in ("http", "https"):
            raise ImproperlyConfigured("环境变量 JINGWEI_SMS_URL 应以 https:// 或 http:// 开头")
        self.account = unquote(address.username or "")
        self.secret = secret.encode()
        self.path = address.path.rstrip("/")
        kind = HTTPSConnection if address.scheme == "https" else HTTPConnection
        self.connect = lambda: kind(address.hostname, address.port, timeout=timeout)

    @contextmanager
    def open(self, take_in):
        with closing(self.connect()) as connection:
            try:
                connection.connect()
            except OSError as error:
                raise GatewayDown(f"连接不上短信网关（{error.strerror or error}）") from error
            yield HttpSession(self, connection, take_in)


class HttpSession:
    def __init__(self, gateway, connection, take_in):
        self.gateway, self.connection, self.take_in = gateway, connection, take_in

    def hand_over(self, batch):
        down = None
        for sms in batch:
            if down:
                yield Answer(sms.uid, UNSENT)
                continue
            body = {"id": sms.uid, "to": sms.to, "text": sms.text}
            try:
                status, answer = self._ask("POST", "/messages", body, {"Idempotency-Key": sms.uid})
            except (OSError, HTTPException) as error:
                down = GatewayDown(f"短信网关没有应答（{error}）")
                yield Answer(sms.uid, UNSURE, error=str(down))
                continue
            said = _text(answer.get("error"), 200) or f"网关应答 {status}"
            if 200 <= status < 300:
                yield Answer(sms.uid, ACCEPTED, (_text(answer.get("id"), 64) or sms.uid,))
            elif status in NEVER:
                yield Answer(sms.uid, REFUSED, error=said)
            elif status in BUSY or status >= 500:
                # A server that fails may have failed after it took the message; the key makes repeating safe.
                yield Answer(sms.uid, LATER if status in BUSY else UNSURE, error=said)
            else:
                # Wrong account, signature or address: no message's fault, so none may fail by it.
                down = GatewayDown(f"短信网关拒绝本平台的请求（{said}），请检查账号、密钥和地址")
                yield Answer(sms.uid, UNSENT)
        if down:
            raise down

    def listen(self):
        end = time.monotonic() + LISTEN_SECONDS
        while time.monotonic() < end:
            try:
                status, answer = self._ask("GET", "/events")
                events = list(read_events(answer)) if status == 200 else []
                for _, news in events:
                    if news:
                        self.take_in(news)
                if events:
                    self._ask("POST", "/events/taken", {"events": [name for name, _ in events]})
            except (OSError, HTTPException) as error:
                raise GatewayDown(f"短信网关没有应答（{error}）") from error
            if not events:
                return

    def _ask(self, method, path, data=None, headers=()):
        target = self.gateway.path + path
        body = b"" if data is None else json.dumps(data, ensure_ascii=False).encode()
        now, nonce = str(int(time.time())), secrets.token_hex(16)
        self.connection.request(
            method,
            target,
            body,
            {
                "Content-Type": "application/json",
                "X-Jingwei-Account": self.gateway.account,
                "X-Jingwei-Time": now,
                "X-Jingwei-Nonce": nonce,
                "X-Jingwei-Signature": signing.signature(
                    self.gateway.secret, method=method, target=target, time=now, nonce=nonce, body=body
                ),
                **dict(headers),
            },
        )
        response = self.connection.getresponse()
        text = response.read(LONGEST_ANSWER)
        if len(text) == LONGEST_ANSWER:
            raise HTTPException("应答过长")
        try:
            answer = json.loads(text)
        except (RecursionError, ValueError):
            answer = None
        return response.status, answer if isinstance(answer, dict) else {}


def read_events(data: dict):
    """(name, receipt or reply) for each event; None in its place for one of an unknown form."""
    listed = data.get("events")
    for event in listed if isinstance(listed, list) else ():
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            yield event["event"], _read_event(event)


def _read_event(event):
    name, uid, at = _text(event["event"], 80), _text(event.get("id"), 32), _time(event.get("at"))
    match event.get("kind"):
        case "receipt" if UID.fullmatch(uid):
            delivered = event.get("delivered") if isinstance(event.get("delivered"), bool) else None
            return Receipt(name, delivered, _text(event.get("code"), 40), uid=uid, at=at)
        case "reply" if sender := _text(event.get("from"), 20):
            text = _text(event.get("text"), 1000)
            return Reply(name, sender, text, uid=uid if UID.fullmatch(uid) else "", at=at)


def _text(value, longest):
    """What the database can hold of a text from outside."""
    plain = "" if value is None else str(value).encode("utf-8", "replace").decode()
    return plain.replace("\0", "")[:longest]


def _time(text):
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    # Far outside our time there are moments that the database knows and Python does not.
    return at if at.tzinfo and 2000 <= at.year < 2100 else None

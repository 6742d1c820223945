"""What an OA system says of its organisations and people, in the form agreed in docs/oa.md (KP-8.3, P-1).

    GET <address>/organisations?size=500[&since=<time>][&cursor=<next>]
    GET <address>/people?…      {"at": time, "items": [row…], "next": the next cursor or null}

Requests are signed with HMAC-SM3 (jingwei.kit.signing). A redirection is not followed, an answer that is too
long or too slow is refused as a whole, a row that makes no sense is refused alone.
"""

import json
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.core.exceptions import ValidationError

from jingwei.kit import signing
from jingwei.kit.networks import is_confidential

PAGE_SIZE = 500
MOST_PAGES = 1000
LONGEST_PAGE = 8 * 2**20  # bytes
TIMEOUT_SECONDS = 10  # without a sign of life
# Controls, line breaks, marks that turn the direction of writing, and halves of characters.
UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
LONGEST = 120


class OaRefused(ValidationError):
    """The OA could not be asked, or what it said cannot be used at all."""


@dataclass(frozen=True)
class OaOrganisation:
    """An organisation of the OA; `parent` and `region` are "" where it names none."""

    id: str
    name: str
    short_name: str
    parent: str
    region: str
    active: bool


@dataclass(frozen=True)
class OaPerson:
    """A person of the OA; `organisation` is the OA's id."""

    id: str
    login: str
    name: str
    phone: str
    organisation: str
    active: bool


@dataclass
class Answer:
    """All pages of one question.

    `rows` {id: row} are those that make sense; `refused` are (id, reason). `ids` are all that were named, so
    that a row that makes no sense is not taken for one that is gone.
    """

    at: datetime
    rows: dict[str, Any] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)


def check_address(address: str):
    """Refuse what is no address of an OA: https, or http inside the own network."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise ValidationError("请填写完整的接口地址，如 https://oa.example.gov.cn/api")
    if parts.username or parts.query or parts.fragment or not address.isascii() or " " in address:
        raise ValidationError("接口地址只写到路径为止，不含账号、问号、井号和中文")
    if not is_confidential(address):
        raise ValidationError("人员信息不能明文经过外部网络：请用 https 地址，或内网 IP 的 http 地址")


class Oa:
    """The OA at `address`; every question together may take `seconds`."""

    def __init__(self, address: str, account: str, secret: str, *, seconds: float):
        check_address(address)
        parts = urlsplit(address)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self.connect = lambda: kind(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
        self.path, self.account, self.secret = parts.path.rstrip("/"), account, secret.encode()
        self.deadline = time.monotonic() + seconds

    def organisations(self, since: datetime | None = None) -> Answer:
        """Every organisation, or those changed `since`."""
        return self._ask("/organisations", since, read_organisation)

    def people(self, since: datetime | None = None) -> Answer:
        """Everybody, or those changed `since`."""
        return self._ask("/people", since, read_person)

    def _ask(self, path, since, read: Callable):
        query = {"size": PAGE_SIZE} | ({"since": since.isoformat()} if since else {})
        items, cursors, at = [], {None}, None
        with closing(self.connect()) as connection:
            for _ in range(MOST_PAGES):
                page = self._page(connection, f"{self.path}{path}?{urlencode(query)}")
                listed, following = page.get("items"), page.get("next")
                at = at or _time(page.get("at"))
                if not isinstance(listed, list) or at is None:
                    raise OaRefused(f"OA 的应答（{path}）不合约定：应有 at 和 items")
                items += listed
                if following is None:
                    return _answer(at, items, read)
                if not isinstance(following, str | int) or following in cursors:
                    raise OaRefused(f"OA 的应答（{path}）不合约定：next 重复，翻页没有尽头")
                cursors.add(following)
                query["cursor"] = following
        raise OaRefused(f"OA 的应答（{path}）超过 {MOST_PAGES} 页，没有采用")

    def _page(self, connection, target):
        now, nonce = str(int(time.time())), secrets.token_hex(16)
        signed = {"method": "GET", "target": target, "time": now, "nonce": nonce, "body": b""}
        headers = {
            "Accept": "application/json",
            "X-Jingwei-Account": self.account,
            "X-Jingwei-Time": now,
            "X-Jingwei-Nonce": nonce,
            "X-Jingwei-Signature": signing.signature(self.secret, **signed),
        }
        try:
            connection.request("GET", target, headers=headers)
            response = connection.getresponse()
            status, text = response.status, self._read(response)
        except (OSError, HTTPException) as error:
            raise OaRefused(f"连接 OA 失败：{_words(error)}。请检查接口地址和网络") from error
        if 300 <= status < 400:
            raise OaRefused("OA 的应答要求转到别的地址，没有跟随；请填写接口的最终地址")
        if status in (401, 403):
            raise OaRefused("OA 不接受本平台的账号或密钥，请核对")
        if status != 200:
            raise OaRefused(f"OA 应答 {status}，请检查接口地址，或请 OA 的管理员查看")
        try:
            page = json.loads(text)
        except (ValueError, RecursionError):
            page = None
        if not isinstance(page, dict):
            raise OaRefused("OA 的应答不是约定的 JSON，请检查接口地址")
        return page

    def _read(self, response):
        pieces, length = [], 0
        while piece := response.read1(65536):
            pieces.append(piece)
            length += len(piece)
            if length > LONGEST_PAGE:
                raise OaRefused(f"OA 的一页应答超过 {LONGEST_PAGE // 2**20} MB，没有采用")
            if time.monotonic() > self.deadline:
                raise OaRefused("OA 应答太慢，已停止等待")
        response.read()  # ends it, so that the connection takes the next request
        return b"".join(pieces)


def _words(error):
    return "等待超时" if isinstance(error, TimeoutError) else getattr(error, "strerror", "") or str(error)


def _answer(at, items, read):
    answer = Answer(at)
    named = Counter(_id(item.get("id")) for item in items if isinstance(item, dict))
    answer.ids = set(named) - {""}
    for number, item in enumerate(items, 1):
        pk = _id(item.get("id")) if isinstance(item, dict) else ""
        if not pk:
            answer.refused.append((f"第 {number} 行", "没有编号，或编号超过 60 个字"))
        elif named[pk] > 1:
            if pk not in dict(answer.refused):
                answer.refused.append((pk, f"编号重复 {named[pk]} 次，这些行都没有采用"))
        else:
            try:
                answer.rows[pk] = read(pk, item)
            except ValueError as error:
                answer.refused.append((pk, str(error)))
    return answer


def read_organisation(pk: str, item: dict) -> OaOrganisation:
    """An organisation's row; ValueError in words."""
    return OaOrganisation(
        pk,
        name=_text(item, "name", "名称", required=True),
        short_name=_text(item, "short_name", "简称"),
        parent=_reference(item, "parent", "上级"),
        region=_text(item, "region", "行政区划"),
        active=_active(item),
    )


def read_person(pk: str, item: dict) -> OaPerson:
    """A person's row; ValueError in words."""
    return OaPerson(
        pk,
        login=_text(item, "login", "登录名"),
        name=_text(item, "name", "姓名", required=True),
        phone=_text(item, "phone", "电话"),
        organisation=_reference(item, "organisation", "单位"),
        active=_active(item),
    )


def _id(value):
    """An id as it is kept, "" where it is none."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return "" if len(text) > 60 or UNFIT.search(text) or text != text.strip() else text


def _reference(item, key, word):
    value = item.get(key)
    if value is not None and value != "" and not _id(value):
        raise ValueError(f"{word}的编号无法识别")
    return "" if value is None else _id(value)


def _text(item, key, word, *, required=False):
    value = item.get(key)
    text = "" if value is None else value
    if not isinstance(text, str) or UNFIT.search(text) or len(text) > LONGEST:
        raise ValueError(f"{word}应为不超过 {LONGEST} 个字的文字，不含控制字符")
    text = text.strip()
    if required and not text:
        raise ValueError(f"{word}为空")
    return text


def _active(item):
    active = item.get("active", True)
    if not isinstance(active, bool):
        raise ValueError("active 应为 true 或 false")
    return active


def _time(text):
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo and 2000 <= at.year < 2100 else None

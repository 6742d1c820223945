# ruff: noqa: S608
"""A front database as it is read: what it has, and the rows of a table in the order of their mark (P-8.4).

Every value comes as text, the way the source writes it in China's time, so that no odd value stops the rows
beside it. Names go into statements quoted, values as parameters. Nothing is ever written there.
"""

import contextlib
import os
import re
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
import pymysql
from django.core.exceptions import ValidationError
from psycopg import sql
from pymysql.converters import encoders
from pymysql.cursors import SSCursor

from jingwei.base.parameters import Parameter
from jingwei.exchange.models import WORD, FrontPassword, FrontSource

TIMEOUT = Parameter(
    "front.timeout", "前置库应答时限", 120, "前置库多久没有应答就放弃，下一次再取", "秒", low=5, high=3600
)

BATCH = 5_000  # rows at once
MOST_COUNTED = 1_000_000  # waiting rows; counting more takes the source too long
MOST_TABLES = 500
CONNECT_SECONDS = 10
TRY_SECONDS = 15  # while somebody looks at a page
GRACE = 5  # seconds in which a source that has its own limit may say that it was too slow
NUMBER, TIME = "编号", "时间"  # kinds of columns that can be a mark

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d{1,6})?)?")
_WHOLE = re.compile(r"(-?\d{1,30})(\.0+)?")


class Unavailable(ValidationError):
    """The source does not give what it is asked for; the message says why, and what to do."""


@dataclass(frozen=True)
class SourceColumn:
    """A column of a source's table. `kind` is NUMBER, TIME or "" for all else, `comment` the source's own."""

    name: str
    kind: str
    comment: str


def value_of(mark: str) -> int | datetime | None:
    """What a mark means: a number, a naive moment in China's time, or None."""
    if found := _WHOLE.fullmatch(mark):
        return int(found[1])
    if found := _MOMENT.match(mark):
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(found[0])
    return None


def kind_of(mark: str) -> str:
    """NUMBER or TIME; "" for what is no mark."""
    value = value_of(mark)
    return "" if value is None else TIME if isinstance(value, datetime) else NUMBER


@contextlib.contextmanager
def opened(source: FrontSource, patience: int | None = None) -> Iterator["Reader"]:
    """A source ready to be read; Unavailable if it is not to be reached.

    `patience`: seconds in which it has to answer each question, by default TIMEOUT.
    """
    password = FrontPassword.objects.filter(source=source).first()
    if password is None:
        raise Unavailable(f"前置库“{source}”还没有设置口令，请系统管理员在“前置库”中设置")
    reader = {FrontSource.POSTGRESQL: PostgreSql, FrontSource.MYSQL: MySql}[source.kind](
        patience or TIMEOUT.value()
    )
    with reader.in_words():
        reader.connect(source, password.text.clear())
    try:
        yield reader
    finally:
        with contextlib.suppress(Exception):  # it may be gone
            reader.connection.close()


class Reader:
    """An open source. What it raises is Unavailable."""

    errors: type[Exception]  # of the driver
    kinds: dict[str, str]  # of its types that can be a mark
    version_is: str
    now_is: str
    tables_are: str

    def __init__(self, patience):
        self.patience, self.connection = patience, None

    @contextlib.contextmanager
    def in_words(self):
        try:
            yield
        except self.errors as error:
            raise Unavailable(self.said(error)) from error
        except UnicodeError as error:
            raise Unavailable("前置库里有无法识别的文字编码，请对方核对库的编码设置") from error
        except ssl.SSLError as error:
            raise Unavailable(_BAD_PEM) from error

    def ask(self, statement: str, values: Sequence = ()) -> list[tuple]:
        """All rows of an answer."""
        with self.in_words(), self.answering(), self.connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def version(self) -> str:
        return self.ask(self.version_is)[0][0]

    def now(self) -> str:
        """The moment there, as a mark."""
        return self.ask(self.now_is)[0][0]

    def tables(self) -> list[str]:
        """Names of tables and views as a feed takes them, at most MOST_TABLES."""
        return [name for (name,) in self.ask(self.tables_are) if re.fullmatch(rf"{WORD}(\.{WORD})?", name)]

    def columns(self, table: str) -> dict[str, SourceColumn]:
        """The columns of a table by name, those left out whose names need quotes. Unavailable without any."""
        found = self.ask(*self.columns_of(table))
        usable = {
            name: SourceColumn(name, self.kinds.get(kind, ""), comment or "")
            for name, kind, comment in found
            if re.fullmatch(WORD, name)
        }
        if not usable:
            raise Unavailable(f"前置库里没有表或视图“{table}”，或者没有读它的权限；请核对名称，或请对方授权")
        return usable

    def waiting(self, table, mark, since: str) -> int:
        """How many rows have a mark from `since` on, counted up to MOST_COUNTED."""
        condition, values = self.from_mark(mark, since)
        inside = f"SELECT 1 FROM {self.quoted(table)} t WHERE {condition} LIMIT {MOST_COUNTED}"
        return int(self.ask(f"SELECT count(*) FROM ({inside}) AS waiting", values)[0][0])

    def has_no_mark(self, table, mark) -> bool:
        """Whether rows have none, so that they are never pulled."""
        return bool(
            self.ask(f"SELECT 1 FROM {self.quoted(table)} t WHERE {self.column(mark)} IS NULL LIMIT 1")
        )

    def sample(self, table, names: Sequence[str], mark: str, rows: int) -> list[tuple]:
        """Some rows, those with the latest marks if a mark is named."""
        order = f" ORDER BY {self.column(mark)} DESC" if mark else ""
        condition = f"{self.column(mark)} IS NOT NULL" if mark else "true"
        return self.ask(f"{self.select(table, names)} WHERE {condition}{order} LIMIT {int(rows)}")

    def rows(self, table, names: Sequence[str], mark: str, since: str) -> Iterator[list[tuple]]:
        """The rows with a mark from `since` on ("": all that have one), in its order, BATCH at a time.

        The mark is the last value of each. Memory does not grow with the table, nor with rows of one mark.
        """
        condition, values = self.from_mark(mark, since)
        statement = f"{self.select(table, [*names, mark])} WHERE {condition} ORDER BY {self.column(mark)}"
        with self.in_words(), self.stream() as cursor:
            with self.answering():
                cursor.execute(statement, values)
            while True:
                with self.answering():
                    batch = cursor.fetchmany(BATCH)
                if not batch:
                    return
                yield batch

    def from_mark(self, mark, since):
        column = self.column(mark)
        return (f"{column} >= %s", [self.given(since)]) if since else (f"{column} IS NOT NULL", [])

    def select(self, table, names):
        return f"SELECT {', '.join(map(self.text, names))} FROM {self.quoted(table)} t"

    def column(self, name):
        return f"t.{self.quoted(name)}"

    def answering(self):
        """Gives up what is done inside when patience is at its end."""
        return contextlib.nullcontext()


class PostgreSql(Reader):
    errors = psycopg.Error
    words = {
        "28": "用户名或口令不对",
        "3D": "没有这个库",
        "42501": "这个用户没有读取权限，请对方授权",
        "42P01": "没有这个表或视图，或者没有权限",
        "42703": "表里没有要取的列，对方可能改了表结构；请核对列对应",
        "42883": "水位列的类型变了，与原来的水位不能比较；请核对列对应，再从头重取",
        "22": "水位列的类型变了，与原来的水位不能比较；请核对列对应，再从头重取",
        "57014": "应答超过时限，可能水位列没有索引或对方繁忙；下一次再取",
        "53": "对方的连接或资源已用完；下一次再取",
        "57": "对方正在停机或重启；下一次再取",
    }
    kinds = {
        **dict.fromkeys(["int2", "int4", "int8", "numeric"], NUMBER),
        **dict.fromkeys(["timestamp", "timestamptz", "date"], TIME),
    }
    version_is = "SELECT 'PostgreSQL ' || current_setting('server_version')"
    now_is = "SELECT localtimestamp::text"
    tables_are = f"""
        SELECT CASE WHEN n.nspname = current_schema() THEN c.relname ELSE n.nspname || '.' || c.relname END
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
          AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%%'
          AND has_table_privilege(c.oid, 'SELECT')
        ORDER BY 1 LIMIT {MOST_TABLES}"""

    def connect(self, source, password):
        modes = {source.PLAIN: "disable", source.ENCRYPTED: "require", source.VERIFIED: "verify-full"}
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as authority:
            authority.write(source.authority)
            authority.flush()
            self.connection = psycopg.connect(
                host=source.host,
                port=source.port,
                dbname=source.database,
                user=source.user,
                password=password,
                sslmode=modes[source.security],
                sslrootcert=authority.name if source.security == source.VERIFIED else "",
                connect_timeout=CONNECT_SECONDS,
                application_name="jingwei",
                client_encoding="utf8",
            )
        self.connection.read_only = True
        settings = {
            "statement_timeout": f"{self.patience}s",
            "timezone": "Asia/Shanghai",
            "datestyle": "ISO, YMD",
        }
        with self.answering():
            for name, value in settings.items():
                self.connection.execute("SELECT set_config(%s, %s, false)", [name, value])
            self.connection.commit()

    def said(self, error):
        state = error.sqlstate or ""
        words = self.words.get(state) or self.words.get(state[:2])
        if words or state:
            return f"前置库：{words or _ANY_ERROR}（{state}）"
        # Before there is a session the driver gives no code.
        if self.connection is None:
            return _sign_in(error) or "连接不上前置库，请核对主机、端口、网络，以及对方是否允许本机访问"
        return "与前置库的连接中断，或应答超过时限；下一次从中断处继续取"

    @contextlib.contextmanager
    def answering(self):
        """Cuts the connection where the source keeps silent: its own time limit may not come to pass."""

        line = socket.socket(fileno=os.dup(self.connection.fileno()))
        timer = threading.Timer(self.patience + GRACE, _cut, [line])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            line.close()

    def stream(self):
        return self.connection.cursor(name="jingwei")

    def columns_of(self, table):
        return (
            """
            SELECT a.attname, coalesce(base.typname, type.typname), col_description(a.attrelid, a.attnum)
            FROM pg_attribute a JOIN pg_type type ON type.oid = a.atttypid
            LEFT JOIN pg_type base ON base.oid = type.typbasetype
            WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
            ORDER BY a.attnum""",
            [self.quoted(table)],
        )

    def given(self, since):
        return since

    def text(self, name):
        return f"{self.column(name)}::text"

    def quoted(self, name):
        return sql.Identifier(*name.split(".")).as_string()


def _cut(line):
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


_ANY_ERROR = "没有取到数据；下一次再取，仍不成功时请对方查看"
# What drivers say of a connection that does not come about.
_BAD_PEM = "签发证书不是有效的 PEM 文本，请系统管理员在“前置库”中重新填写"
_SIGNS = {
    "root certificate file": _BAD_PEM,
    "password authentication failed": "前置库：用户名或口令不对",
    "no password": "前置库：用户名或口令不对",
    "does not support SSL": "前置库不支持加密连接；请对方开启，或在“前置库”中改为不加密",
    "certificate verify failed": "前置库的证书核对不通过：不是填写的机构签发的，或已过期",
    "does not match host name": "前置库的证书核对不通过：证书不是发给这个主机名的",
    "could not translate host name": "找不到这个主机名，请核对，或改填 IP 地址",
    "no pg_hba.conf entry": "前置库不允许本机以这个用户访问，请对方开通",
    '" does not exist': "前置库：没有这个库或用户",
    "onnection refused": "前置库拒绝连接：主机或端口不对，或对方数据库没有启动",
    "timeout expired": f"前置库 {CONNECT_SECONDS} 秒没有应答，请核对主机、端口和网络",
    "timed out": f"前置库 {CONNECT_SECONDS} 秒没有应答，请核对主机、端口和网络",
    "doesn't support it": "前置库不支持加密连接；请对方开启，或在“前置库”中改为不加密",
}


def _sign_in(error):
    """What the text of an error is known to mean, "" for any other."""
    text = str(error)
    return next((words for sign, words in _SIGNS.items() if sign in text), "")


class MySql(Reader):
    errors = pymysql.Error
    words = {
        1045: "用户名或口令不对",
        1044: "这个用户没有进入该库的权限，请对方授权",
        1049: "没有这个库",
        1130: "不允许本机访问，请对方开通",
        1142: "这个用户没有读取权限，请对方授权",
        1143: "这个用户没有读取要取的列的权限，请对方授权",
        1146: "没有这个表或视图，或者没有权限",
        1054: "表里没有要取的列，对方可能改了表结构；请核对列对应",
        1040: "对方的连接已用完；下一次再取",
        1053: "对方正在停机或重启；下一次再取",
        2003: "连接不上，请核对主机、端口、网络，以及对方数据库是否启动",
        2013: "应答超过时限，或连接中断；下一次从中断处继续取",
        2006: "连接中断；下一次从中断处继续取",
    }
    kinds = {
        **dict.fromkeys(["tinyint", "smallint", "mediumint", "int", "bigint", "decimal"], NUMBER),
        **dict.fromkeys(["datetime", "timestamp", "date"], TIME),
    }
    version_is = "SELECT concat(if(version() LIKE '%%MariaDB%%', '', 'MySQL '), version())"
    now_is = "SELECT now(6)"
    tables_are = f"""
        SELECT table_name FROM information_schema.tables WHERE table_schema = database()
        ORDER BY 1 LIMIT {MOST_TABLES}"""

    def connect(self, source, password):
        self.connection = pymysql.connect(
            host=source.host,
            port=source.port,
            database=source.database,
            user=source.user,
            password=password.encode(),  # a text would be taken for Latin-1
            charset="utf8mb4",
            ssl=_tls(source) if source.security != source.PLAIN else None,
            ssl_disabled=source.security == source.PLAIN,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=self.patience,
            write_timeout=self.patience,
            conv=encoders,  # and no decoders: values stay text
            autocommit=True,
        )
        for statement in ("SET time_zone = '+08:00'", "SET SESSION TRANSACTION READ ONLY"):
            self.ask(statement)

    def said(self, error):
        code = error.args[0] if error.args else ""
        if self.connection is None and (words := _sign_in(error)):
            return words
        return f"前置库：{self.words.get(code, _ANY_ERROR)}（{code}）"

    @contextlib.contextmanager
    def stream(self):
        cursor = self.connection.cursor(SSCursor)
        try:
            yield cursor
        finally:
            # Closing it would read all that is left of the table; the connection is closed instead.
            if cursor._result:
                cursor._result.unbuffered_active = False
            cursor.connection = None

    def columns_of(self, table):
        schema, _, name = table.rpartition(".")
        return (
            """
            SELECT column_name, data_type, column_comment FROM information_schema.columns
            WHERE table_schema = coalesce(nullif(%s, ''), database()) AND table_name = %s
            ORDER BY ordinal_position""",
            [schema, name],
        )

    def given(self, since):
        value = value_of(since)
        return value if isinstance(value, int) else since  # a text would be compared as an inexact number

    def text(self, name):
        return self.column(name)

    def quoted(self, name):
        return ".".join(f"`{part.replace('`', '``')}`" for part in name.split("."))


def _tls(source):
    """The encryption of a connection: with the certificate checked, or without."""
    if source.security == source.VERIFIED:
        return ssl.create_default_context(cadata=source.authority)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context

"""What changes front databases and feeds: settings, on and off, starting over (P-8.4, KP-8.2)."""

import re

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.utils import timezone

from jingwei.base import audit
from jingwei.base.saving import delete_record, save_record, touch
from jingwei.desk import jobs
from jingwei.exchange.models import FrontFeed, FrontPassword, FrontSource
from jingwei.exchange.pulling import known_columns
from jingwei.exchange.queries import label_of, pulled_sheets
from jingwei.exchange.sources import MOST_TABLES, TRY_SECONDS, kind_of, opened

SOURCES, FEEDS = "front-sources", "front-feeds"
PULL = "front-pull"  # kind of job

# --- sources ----------------------------------------------------------------------------------------------


@transaction.atomic
def save_source(actor, source, *, values, version=None):
    """Add or change a source. Where its password would go elsewhere, it is forgotten and set anew."""
    stored = FrontSource.objects.filter(pk=source.pk).first()
    save_record(actor, source, resource=SOURCES, values=values, version=version)
    if stored and any(getattr(stored, name) != getattr(source, name) for name in FrontSource.ADDRESS):
        FrontPassword.objects.filter(source=source).delete()
        if FrontSource.objects.filter(pk=source.pk, password_at__isnull=False).update(password_at=None):
            audit.record(actor, "清除口令", source, resource=SOURCES, reason="连接的去向已改变")
    return source


@transaction.atomic
def set_password(actor, source, *, password):
    """Keep the password of a source, sealed; nobody sees it again."""
    FrontPassword.objects.update_or_create(source=source, defaults={"text": password})
    FrontSource.objects.filter(pk=source.pk).update(password_at=timezone.now())
    audit.record(actor, "设置口令", source, resource=SOURCES)
    return "口令已加密保存，以后不再显示。可以试连。"


def try_source(actor, source) -> str:
    """Connect to a source and say what is there. Not in a transaction: the log keeps failures, too."""
    try:
        with opened(source, TRY_SECONDS) as reader:
            version, tables = reader.version(), reader.tables()
    except ValidationError as refusal:
        audit.record(actor, "试连", source, resource=SOURCES, result="失败", reason=refusal.messages[0])
        raise
    audit.record(actor, "试连", source, resource=SOURCES)
    more = "以上" if len(tables) == MOST_TABLES else ""
    named = f"：{'、'.join(tables[:10])}" + (" 等" if len(tables) > 10 else "") if tables else ""
    return f"已连上 {version}，可以读 {len(tables)} 个{more}表或视图{named}"


# --- feeds ------------------------------------------------------------------------------------------------


def require_all_rows(actor, sheet: str):
    """PermissionDenied for who may not import this kind of sheet for everybody: a feed is nobody's own."""
    known = pulled_sheets().get(sheet)
    if known and not actor.data_scope(f"{known.resource}.import").everything:
        raise PermissionDenied(f"前置库取数涉及全部{known.label}，须由可导入全部{known.label}的账号办理")


def _locked(feed):
    return FrontFeed.objects.select_for_update(of=("self",)).select_related("source").get(pk=feed.pk)


@transaction.atomic
def save_feed(actor, feed, *, values, version=None):
    """Add or change a feed. From another table its columns are matched anew, and pulled from the start."""
    require_all_rows(actor, values.get("sheet", feed.sheet))
    stored = feed.pk and _locked(feed)
    elsewhere = stored and any(
        name in values and str(getattr(stored, name)) != str(values[name])
        for name in ("sheet", "source_id", "table")
    )
    if elsewhere and stored.enabled:
        raise ValidationError("取数启用期间不能换数据、前置库或表，请先停用")
    save_record(actor, feed, resource=FEEDS, values=values, version=version)
    if elsewhere:
        FrontFeed.objects.filter(pk=feed.pk).update(mark="", columns={}, position="", waiting=None)
    return feed


@transaction.atomic
def save_columns(actor, feed, *, columns: dict[str, str], mark: str):
    """Keep which column of the table is which of ours, and the one that is the mark.

    With another mark everything is pulled from the start; what is there already is not stored twice.
    """
    require_all_rows(actor, feed.sheet)
    feed, sheet = _locked(feed), pulled_sheets()[feed.sheet]
    if lacking := [c.heading for c in sheet.columns if c.required and not columns.get(c.name)]:
        raise ValidationError(f"请指定必需的列：{'、'.join(lacking)}")
    if not mark:
        raise ValidationError("请指定水位列：随新增或修改而变大的一列")
    before = {"水位列": feed.mark} | feed.columns
    after = {"水位列": mark} | columns
    changes = {
        name if name == "水位列" else sheet.column(name).heading: [before.get(name, ""), after.get(name, "")]
        for name in dict.fromkeys([*before, *after])
        if before.get(name, "") != after.get(name, "")
    }
    if not changes:
        return
    position = feed.position if mark == feed.mark else ""
    touch(FrontFeed.objects.filter(pk=feed.pk), columns=columns, mark=mark, position=position)
    audit.record(actor, "修改", feed, resource=FEEDS, changes=changes)


@transaction.atomic
def delete_feed(actor, feed):
    """Delete a feed that is off; what it has brought stays."""
    require_all_rows(actor, feed.sheet)
    if _locked(feed).enabled:
        raise ValidationError("取数已启用，请先停用再删除")
    delete_record(actor, feed, resource=FEEDS)


@transaction.atomic
def switch_on(actor, feed) -> str:
    """Have the clock pull a feed; import and deletion by hand are closed from now on."""
    require_all_rows(actor, feed.sheet)
    feed = _locked(feed)
    if feed.enabled:
        raise ValidationError("取数已经启用，不必再办")
    if not feed.mark:
        raise ValidationError("还没有指定列对应和水位列，请先在“列对应”中指定")
    with opened(feed.source, TRY_SECONDS) as reader:
        known_columns(reader, feed)
    touch(FrontFeed.objects.filter(pk=feed.pk), enabled=True, begun_at=None)
    audit.record(actor, "启用取数", feed, resource=FEEDS, label=f"{label_of(feed.sheet)}：{feed}")
    return f"已启用，一分钟内开始取数；{label_of(feed.sheet)}的手工导入和删除同时关闭"


@transaction.atomic
def switch_off(actor, feed) -> str:
    """Stop pulling a feed, a pull at work too; import and deletion by hand are open again."""
    require_all_rows(actor, feed.sheet)
    if not _locked(feed).enabled:
        raise ValidationError("取数已经停用，不必再办")
    off = {"enabled": False, "error": "", "failing_since": None}
    touch(FrontFeed.objects.filter(pk=feed.pk), **off)
    audit.record(actor, "停用取数", feed, resource=FEEDS, label=f"{label_of(feed.sheet)}：{feed}")
    return f"已停用；{label_of(feed.sheet)}可以手工导入和删除"


@transaction.atomic
def start_over(actor, feed, *, mark="") -> str:
    """Pull again from a mark on, or from the very start; what is there already is not stored twice."""
    require_all_rows(actor, feed.sheet)
    feed, mark = _locked(feed), re.sub(r"[\sT]+", " ", mark.strip())
    if mark and not kind_of(mark):
        raise ValidationError({"mark": "请填编号，如 120000，或时间，如 2026-03-01 09:30:00；从头取则不填"})
    if mark and feed.position and kind_of(mark) != kind_of(feed.position):
        raise ValidationError({"mark": f"现在的水位是“{feed.position}”，请填同样的一种"})
    touch(FrontFeed.objects.filter(pk=feed.pk), position=mark, begun_at=None, waiting=None)
    where = f"从 {mark}" if mark else "从头"
    audit.record(actor, "重取", feed, resource=FEEDS, reason=where, changes={"水位": [feed.position, mark]})
    return f"下一次取数{where}开始；已有的行不会重复"


def pull_now(actor, feed) -> str:
    """Start a pull before its time."""
    require_all_rows(actor, feed.sheet)
    if not feed.enabled:
        raise ValidationError("取数没有启用，请先启用")
    jobs.start(actor, PULL, f"取数 {label_of(feed.sheet)}", {"feed": feed.pk})
    audit.record(actor, "立即取数", feed, resource=FEEDS)
    return "已开始取数，进度显示在下面"

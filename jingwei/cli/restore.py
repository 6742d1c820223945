"""`jingwei restore BACKUP`: a backup into an empty place, and the proof that it is whole (P-10.2, SEC-21).

Nothing is touched before every part has the digest that the manifest names, the manifest is the one that was
signed, and the keys are the ones of then. What is restored is then compared with what was there: rows, log
chain, sealed values, counts. Exit code 0: all as it was; 1: restored, but the report names differences; 2:
refused or broken off. A restore that was broken off begins anew; until it is through no `jingwei up` and no
`jingwei migrate` works on it.

A restored instance is in the past, so three things are not taken as they stood: messages that waited then may
have been sent since and wait for somebody's word, all sessions are over, and tallies, which name transactions
of the server that was, are counted anew. What was erased since, because somebody asked or its time was over,
is erased again by the journal of erasures, before anybody can look: the proofs stand in the instance.
"""

import contextlib
import hmac
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psycopg
from django.apps import apps
from django.conf import settings
from django.core.management import CommandError
from django.db.migrations.loader import MigrationLoader

from jingwei import embedded
from jingwei.base import audit, chain, wall
from jingwei.base.access import platform_actor
from jingwei.base.crypto import provider
from jingwei.base.fields import personal_fields, reveal
from jingwei.cli import backup as backups
from jingwei.cli import migrate
from jingwei.desk import files
from jingwei.desk.storage import store
from jingwei.kit.sm4siv import Tampered
from jingwei.messages.models import SmsMessage
from jingwei.oversight import journal
from jingwei.people.day_counts import DOSES, PEOPLE, recount
from jingwei.testing.models import SAMPLES

_SAMPLE = 100  # sealed values opened from each end of a column
_SHOWN = 20  # differences named in the report
ACTOR = platform_actor("恢复备份")
_OF_THE_DATABASE = ("DATABASE_URL", "JINGWEI_OWNER_URL", "JINGWEI_REPLICA_URL")
_POSSIBLY_SENT = "备份之后可能已经发送，请核实"


def add_arguments(parser):
    parser.add_argument("backup", metavar="BACKUP", type=Path, help="一个备份的目录")
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--into",
        metavar="PLACE",
        help="恢复到哪里：新的实例目录，或空数据库的地址 postgresql://…（默认本实例）",
    )
    place.add_argument(
        "--verify", action="store_true", help="只作检验：恢复到临时目录（TMPDIR），核对后删除，不动本实例"
    )
    parser.add_argument("--keys", metavar="FILE", type=Path, help="密钥环的备份，目标处没有密钥环时使用")
    erasures = parser.add_mutually_exclusive_group()
    erasures.add_argument(
        "--erasures",
        metavar="FILE",
        type=Path,
        help=f"删除记录，按它重做备份以后的删除（默认：本实例的，和备份旁边的 {journal.NAME}）",
    )
    erasures.add_argument(
        "--no-erasures", action="store_true", help="没有删除记录也恢复：备份以后删除的个人信息会重新出现"
    )


def run(options):
    if options.verify:
        with tempfile.TemporaryDirectory(prefix="jingwei-restore-") as home:
            trial = {
                "JINGWEI_HOME": home,
                "JINGWEI_KEYS": str((options.keys or settings.JINGWEI_KEYS).resolve()),
                "JINGWEI_MASTER_KEY_FILE": str(settings.JINGWEI_MASTER_KEY_FILE),
                "JINGWEI_FILES": f"{home}/files",
                "JINGWEI_STORAGE": f"{home}/attachments",
            }
            return _run_in(options, None, **trial)
    if options.into and options.into.startswith(("postgresql://", "postgres://")):
        return _run_in(options, options.keys, DATABASE_URL=options.into, JINGWEI_OWNER_URL=options.into)
    if options.into:
        return _run_in(options, options.keys, JINGWEI_HOME=str(Path(options.into).resolve()))
    return _restore_here(options)


def _run_in(options, keys, **instance):
    """The same command in another instance, which is what the environment names."""
    ours = {name: value for name, value in os.environ.items() if name not in _OF_THE_DATABASE}
    command = [
        sys.executable,
        "-c",
        "from jingwei.cli.main import main; main()",
        "restore",
        str(options.backup.resolve()),
    ]
    if keys:
        command += ["--keys", str(keys.resolve())]
    if options.no_erasures:
        command.append("--no-erasures")
    elif known := options.erasures or (journal.place().exists() and journal.place()):
        command += ["--erasures", str(known.resolve())]
    return subprocess.run(command, env=ours | instance).returncode


def _restore_here(options):
    started, backup = time.monotonic(), options.backup.resolve()
    manifest = _read(backup)
    _have_keys(options.keys)
    _check_signature(backup)
    _check_keys(manifest)
    _check_versions(manifest)
    erased = [] if options.no_erasures else _erased(backup, manifest, options.erasures)
    server = embedded.Server(settings.EMBEDDED_SERVER, tied=True) if settings.EMBEDDED_SERVER else None
    with server or contextlib.nullcontext():
        _claim()
        _say(f"正在恢复 {manifest['made_at']} 的备份，共 {sum(manifest['rows'].values()):,} 行……")
        _restore_files(backup)
        with backups.program(
            *["pg_restore", "--exit-on-error", f"--jobs={backups.JOBS}"],
            # With its policies: the mark that says they stand comes along (wall.raise_wall).
            *["--no-owner", "--no-privileges", backup / backups.DATABASE],
        ):
            pass
        differences = list(_compare_rows(manifest))
        held = _settle()
        # Brings an older backup up to date and gives the roles their rights, which no dump holds.
        migrate.bring_up_to_date(new_signing_key=True, restoring=True)
        with wall.as_owner():
            again = _erase_again(erased)
            differences += _verify(manifest)
            known = "没有使用删除记录" if options.no_erasures else again
            audit.record(
                ACTOR,
                "恢复备份",
                label=manifest["made_at"],
                result="失败" if differences else "成功",
                reason="；".join(differences),
                删除=known,
            )
        with psycopg.connect(backups.owner_url()) as owner:
            owner.execute(f"DROP SCHEMA {migrate.UNFINISHED}")  # from here on it may be used
    _report(manifest, differences, held, known, time.monotonic() - started)
    return 1 if differences else 0


def _say(text):
    print(text, flush=True)


# --- before anything is touched -----------------------------------------------------------------------------


def _read(backup):
    """The manifest of a backup every part of which is as it was written."""
    try:
        manifest = json.loads((backup / backups.MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise CommandError(f"{backup} 不是完整的备份：其中没有 {backups.MANIFEST}。") from None
    except ValueError:
        raise CommandError(f"备份已损坏：{backups.MANIFEST} 无法读取。") from None
    if manifest.get("form") != backups.FORM:
        raise CommandError("备份的格式与本程序不符，请用生成它的版本恢复。")
    _say("正在核对备份文件……")
    there = backups.digests(backup)
    if wrong := sorted(dict(there.items() ^ manifest["parts"].items())):
        raise CommandError(f"备份已损坏或不完整，没有恢复任何内容。不符的文件：{'、'.join(wrong[:_SHOWN])}")
    return manifest


def _have_keys(keys):
    if not settings.JINGWEI_KEYS.exists() and keys:
        settings.JINGWEI_KEYS.parent.mkdir(parents=True, exist_ok=True)
        draft = settings.JINGWEI_KEYS.with_name(settings.JINGWEI_KEYS.name + ".new")
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(keys.read_bytes())
        draft.rename(settings.JINGWEI_KEYS)
    if not settings.JINGWEI_KEYS.exists():
        raise CommandError(f"没有密钥环 {settings.JINGWEI_KEYS}，恢复后无法解密。请用 --keys 指明它的备份。")


def _check_signature(backup):
    content = (backup / backups.MANIFEST).read_bytes()
    try:
        key_id, signed = (backup / backups.MAC).read_text().split()
    except (FileNotFoundError, ValueError):
        raise CommandError(f"备份已损坏：{backups.MAC} 无法读取。") from None
    if key_id not in provider().key_ids:
        raise CommandError(f"密钥环中没有生成此备份时的密钥 {key_id}，请用 --keys 指明当时的密钥环。")
    if not hmac.compare_digest(backups.code(content, key_id), signed):
        raise CommandError("备份清单被改动过，或密钥环不是当时的那一个，没有恢复任何内容。")


def _check_keys(manifest):
    checks = backups.key_checks()
    if lacking := [key_id for key_id, check in manifest["keys"].items() if checks.get(key_id) != check]:
        raise CommandError(f"密钥环中缺少备份所用的密钥 {'、'.join(lacking)}，请用 --keys 指明当时的密钥环。")


def _check_versions(manifest):
    known = MigrationLoader(None).disk_migrations
    if unknown := [name for app, name in manifest["migrations"] if (app, name) not in known]:
        raise CommandError(
            f"备份来自更新的版本（{manifest['version']}），本程序不认识其中的结构 {unknown[-1]}。请先升级。"
        )


def _erased(backup, manifest, named) -> list[dict]:
    """The entries of the journals of erasures there are; one of them goes on from that of the backup."""
    places = [place for place in (named, journal.place(), backup.parent / journal.NAME) if place]
    try:
        found = [journal.read(place) for place in places if place.exists()]
    except journal.Broken as broken:
        raise CommandError(f"{broken}。没有恢复任何内容。") from None
    if not any(each.has(manifest.get("erasures", journal.NONE)) for each in found):
        problem = "现有的删除记录比备份时的少，不完整" if found else f"找不到删除记录 {journal.NAME}"
        raise CommandError(
            f"{problem}，无法重做备份以后的删除，没有恢复任何内容。它在原实例存放上传文件的目录中和备份旁边，"
            "请用 --erasures 指明；确实没有的，用 --no-erasures 恢复，备份以后删除的个人信息须逐件重新删除。"
        )
    return [*{json.dumps(entry): entry for each in found for entry in each.entries}.values()]


# --- the restore itself -------------------------------------------------------------------------------------


def _claim():
    """Take an empty database, or one in which a restore was broken off, for this restore."""
    with psycopg.connect(backups.owner_url()) as owner:
        if migrate.is_unfinished(owner):
            owner.execute("DROP SCHEMA public CASCADE")
            owner.execute("CREATE SCHEMA public")
        elif owner.execute(
            "SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace LIMIT 1"
        ).rowcount:
            raise CommandError("目标数据库不是空的，没有恢复任何内容。请换一个空的数据库或新的实例目录。")
        else:
            owner.execute(f"CREATE SCHEMA {migrate.UNFINISHED}")


def _restore_files(backup):
    for path in (backup / backups.FILES / backups.UPLOADS).glob("*"):
        place = files.place(uuid.UUID(path.name))
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    for path in (backup / backups.FILES / backups.ATTACHMENTS).glob("*"):
        store().put(path.name, path.read_bytes())


def _settle():
    """Take back what holds only of the moment of the backup; returns how many messages wait for a word."""
    with psycopg.connect(backups.owner_url()) as owner:
        for table in ("people_tallycount", "people_tally", "people_tallychange", "directory_session"):
            owner.execute(f"DELETE FROM {table}")  # noqa: S608
        held = owner.execute(
            "UPDATE sms_smsmessage SET state = %s, error = %s, retry_at = NULL, claimed_until = NULL "
            "WHERE state = ANY(%s)",
            [SmsMessage.UNSURE, _POSSIBLY_SENT, [SmsMessage.WAITING, SmsMessage.SENDING]],
        ).rowcount
        owner.execute("ANALYZE")
    return held


def _erase_again(entries) -> str:
    """Have the instance know the journal and erase what it tells of; says what that was."""
    known = {json.dumps(entry) for entry in journal.read(journal.place()).entries}
    journal.append(*(entry for entry in entries if json.dumps(entry) not in known))
    return migrate.erase_again(ACTOR, entries)


# --- is it what it was? -------------------------------------------------------------------------------------


def _compare_rows(manifest):
    with psycopg.connect(backups.owner_url()) as owner:
        there = backups.row_counts(owner)
    for table in sorted(manifest["rows"].keys() | there.keys()):
        was, now = manifest["rows"].get(table, 0), there.get(table, 0)
        if was != now:
            yield f"表 {table} 应有 {was:,} 行，现有 {now:,} 行"


def _verify(manifest):
    _say("正在核对恢复的内容……")
    if seal := manifest["seal"]:
        with psycopg.connect(backups.owner_url()) as owner:
            if backups.last_seal(owner, seal[0]) != seal:
                yield f"第 {seal[0]} 号日志封存记录不是备份时的"
    for broken in chain.verify().breaks:
        yield broken.said
    yield from _closed_values()
    if wrong := recount(PEOPLE, DOSES, SAMPLES):
        yield f"按日统计有 {wrong} 处与明细不符，已更正"


def _closed_values():
    """Columns of which a value, of the first and the last rows, does not open under the keys."""
    for model in apps.get_models():
        for field in personal_fields(model):
            filled = model._base_manager.filter(**{f"{field.name}__isnull": False})
            try:
                for order in ("pk", "-pk"):
                    reveal(filled.order_by(order).values_list(field.name, flat=True)[:_SAMPLE])
            except Tampered:
                yield f"{model._meta.label}.{field.name} 中有无法解密的值"


def _report(manifest, differences, held, again, seconds):
    _say(f"已恢复　{manifest['made_at']}（版本 {manifest['version']}），用时 {seconds:.0f} 秒")
    rows = sum(manifest["rows"].values())
    _say(f"内容　　{len(manifest['rows'])} 张表 {rows:,} 行，{manifest['files']} 个文件")
    if manifest["lost"]:
        _say(f"文件　　{manifest['lost']} 个文件在备份时已被删除，不在备份中")
    if held:
        _say(f"短信　　{held} 条当时等待发送，之后可能已经发出，已改为“{SmsMessage.UNSURE}”，请逐条核实")
    _say(f"删除　　{again}")
    for difference in differences[:_SHOWN]:
        _say(f"不符　　{difference}")
    if not differences:
        _say("核对　　全部一致：各表行数、日志链、加密内容、按日统计")

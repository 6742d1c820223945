"""`jingwei migrate`: the step of an upgrade (P-10.2, SEC-20).

It brings the database to this program's version, as the owner of its tables, and lists the files of the new
release on this machine.

The only command that uses JINGWEI_OWNER_URL: all others sign in as a role that owns nothing.
"""

from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from jingwei.base import wall
from jingwei.base.access import platform_actor
from jingwei.base.crypto import create_key_ring
from jingwei.cli.web import check_files
from jingwei.directory.setup import ensure_dictionaries, ensure_roles
from jingwei.oversight import erasing, forgetting, journal
from jingwei.running import machines

ALONE = 0x6D696772  # key of the advisory lock: two machines don't migrate at once
UNFINISHED = "jingwei_restoring"  # a schema in the database for as long as a restore into it isn't through


def add_arguments(parser):
    parser.add_argument(
        "--new-signing-key", action="store_true", help="实例改用本机的签名密钥；所有人须重新登录"
    )
    parser.add_argument(
        "--erase-again",
        action="store_true",
        help="数据库被恢复到过去的某一时刻后：按删除记录重做此后的删除",
    )


def run(options):
    bring_up_to_date(options.new_signing_key)
    if options.erase_again:
        print(f"删除　{erase_again(platform_actor('恢复数据库'), _erased())}")
    print("数据库结构和内置字典、角色已是最新。")
    check_files(on_purpose=True)
    return 0


def bring_up_to_date(new_signing_key=False, restoring=False):
    """Tables, and what they are shipped with; nothing of the demonstration district."""
    with wall.as_owner():
        wall.check_roles()
        migrate(restoring)
    with wall.beyond_scope():
        ensure_dictionaries()
        ensure_roles()
        if new_signing_key:
            machines.forget_signing_key()
        machines.check_secrets()


def _erased():
    try:
        return journal.read(journal.place()).entries
    except journal.Broken as broken:
        raise CommandError(f"{broken}。没有重做删除。") from None


def erase_again(actor, entries: list[dict]) -> str:
    """Erase what a journal of erasures tells of and the database does not know; says what that was."""
    requests, nights = forgetting.forget_again(actor, entries), erasing.erase_again(actor, entries)
    told = [f"按申请删除 {len(requests)} 人 {sum(each.total for each in requests):,} 条"] if requests else []
    told += [f"到期的{proof.label} {proof.count:,} 条" for proof in nights]
    return "，".join(told) or "没有要重做的删除"


def is_unfinished(cursor) -> bool:
    """Whether the database holds a restore that was broken off. The cursor is one of either driver's."""
    return cursor.execute(f"SELECT to_regnamespace('{UNFINISHED}') IS NOT NULL").fetchone()[0]


def migrate(restoring=False):
    """Keys, if this is the beginning, tables and the rights on them; what is there already is left alone.

    CommandError while the database holds an unfinished restore, unless it is this one that asks.
    """
    if not settings.JINGWEI_KEYS.exists():
        if "django_migrations" in connection.introspection.table_names():
            raise CommandError(
                f"密钥文件 {settings.JINGWEI_KEYS} 不见了，数据库中的个人信息无法解密。请先从备份中恢复它。"
            )
        create_key_ring(settings.JINGWEI_KEYS)
    with connection.cursor() as cursor:
        if is_unfinished(cursor) and not restoring:
            raise CommandError("数据库中的恢复没有完成，请重新运行 jingwei restore。")
        cursor.execute("SELECT pg_advisory_lock(%s)", [ALONE])
        try:
            call_command("migrate", verbosity=0)
            wall.raise_wall()
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [ALONE])

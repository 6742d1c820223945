"""Whether an instance can work, part by part (P-10.2).

Parts that a request needs decide whether this machine is ready. A missing worker or a lagging replica does
not: to send the visitors elsewhere would help no one, since all machines share them; they are told of, and
monitoring rings.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor

from jingwei.base import replica
from jingwei.base.crypto import Column, provider
from jingwei.base.parameters import Parameter
from jingwei.desk import files
from jingwei.kit.sm4siv import Tampered
from jingwei.running import integrity

FREE = Parameter(
    "running.free", "磁盘最少剩余空间", 2, "低于它就报告“未就绪”，并停止接收访问", "GB", low=0, high=10_000
)
PARAMETERS = [FREE]
SILENT_SECONDS = 60  # after which a worker that has not shown itself is gone; it does so every ten
SAMPLE = Column("running.sample", searchable=False)
_found: set[str] = set()  # "migrated", once it was found so: while this process lives that stays


@dataclass(frozen=True)
class Part:
    """How a part is, `said` in words; what is not `needed` may fail without stopping the visitors."""

    name: str
    good: bool
    said: str = ""
    needed: bool = True


def parts() -> list[Part]:
    """Every part, the database first; without it the rest is not asked."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return [Part("database", False, "数据库没有应答")]
    return [Part("database", True), _migrations(), _keys(), *_disks(), _files(), _worker(), *_replica()]


def is_ready(found) -> bool:
    """Whether visitors may be sent to this machine."""
    return all(part.good for part in found if part.needed)


def missing_migrations() -> list[str]:
    """Steps of this program that the database has not taken yet."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def _migrations():
    if "migrated" not in _found:
        missing = missing_migrations()
        if missing:
            return Part(
                "migrations", False, f"数据库结构缺少 {len(missing)} 个升级步骤，请运行 jingwei migrate"
            )
        _found.add("migrated")
    return Part("migrations", True)


def _keys():
    try:
        opened = provider().decrypt(SAMPLE, provider().encrypt(SAMPLE, ["经纬"]))
    except (ImproperlyConfigured, Tampered, OSError):
        opened = None
    return Part("keys", opened == ["经纬"], "" if opened else "密钥不能读取")


def _disks():
    least = FREE.value() * 10**9
    for name, folder in disks():
        try:
            free = free_bytes(folder)
        except OSError:
            yield Part(name, False, f"{folder} 不能访问")
        else:
            yield Part(name, free >= least, f"{folder} 剩余 {free / 10**9:.1f} GB")


def disks() -> list[tuple[str, Path]]:
    """Where an instance writes, by name: attachments only where they lie in a folder."""
    places = [("disk", settings.JINGWEI_HOME), ("files-disk", files.folder())]
    if settings.JINGWEI_STORAGE.startswith("/"):
        places.append(("attachments-disk", Path(settings.JINGWEI_STORAGE)))
    return places


def free_bytes(folder) -> int:
    """Room that is left where a folder lies, or will lie once something is stored."""
    return shutil.disk_usage(folder if folder.exists() else folder.parent).free


def _files():
    good = integrity.is_intact()
    return Part("integrity", good, "" if good else "文件与登记的摘要不一致，请运行 jingwei integrity 查看")


def worker_silence() -> float | None:
    """Seconds since a worker last showed itself; None if there is none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM now() - max(last_heartbeat)) FROM procrastinate_workers")
        (seconds,) = cursor.fetchone()
    return None if seconds is None else float(seconds)


def _worker():
    silence = worker_silence()
    alive = silence is not None and silence <= SILENT_SECONDS
    return Part(
        "worker", alive, "" if alive else "没有后台任务进程，导入、导出和定时任务都在等待", needed=False
    )


def _replica():
    if replica.is_configured():
        trouble = replica.problem()
        yield Part("replica", not trouble, trouble and f"{trouble}，统计改读主库", needed=False)

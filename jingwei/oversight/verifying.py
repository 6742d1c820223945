"""The verification of the operation log as a job, by night and when asked for (P-3.2, SEC-9)."""

from django.db import transaction
from django.utils import timezone

from jingwei.base import audit, chain
from jingwei.oversight import copies

JOB, LABEL = "verify-log", "校验操作日志"


def verify(actor, report=lambda done, total: None) -> chain.Verdict:
    """Check chain and copies; what came of it leaves its row in the log, and an alarm if it is bad."""
    verdict = chain.verify(report)
    copies.compare(verdict)
    counts = {"行数": verdict.rows, "封存": verdict.seals, "问题": verdict.in_all}
    result, reason = ("成功", "") if verdict.sound else ("失败", in_words(verdict))
    audit.record(actor, "校验日志", resource="logs", result=result, reason=reason, **counts)
    return verdict


def in_words(verdict: chain.Verdict) -> str:
    """What a verification says in a line."""
    if verdict.sound:
        return f"完整：{verdict.rows:,} 条日志，{verdict.seals:,} 次封存"
    return f"发现 {verdict.in_all:,} 处问题：{'；'.join(broken.said for broken in verdict.breaks[:5])}"


def verify_job(actor, job, report) -> dict:
    """Work of the kind of job `verify-log`."""
    verdict = verify(actor, report)
    breaks = [[broken.kind, broken.said] for broken in verdict.breaks]
    return {"message": in_words(verdict)[:500], "result": {"breaks": breaks, "in_all": verdict.in_all}}


def copy_job(actor, job, report) -> dict:
    """Kind of job: seal what is left, copy the days before."""
    chain.seal()
    made, lost = copies.write_copies(timezone.localdate())
    for day in lost:
        audit.record(
            actor,
            "校验日志",
            resource="logs",
            result="失败",
            reason=f"{day} 的副本不在了，已从数据库重新保存",
        )
    return {"message": f"保存了 {len(made)} 天的日志副本。"}


def drop_job(actor, job, report) -> dict:
    """Kind of job: let go of rows past the keeping time."""
    total = 0
    while True:
        with transaction.atomic():
            dropped = chain.drop_old()
            if dropped:
                audit.record(actor, "清理日志", resource="logs", 行数=dropped)
        total += dropped
        if not dropped:
            return {"message": f"删除了 {total:,} 条过期日志。"}

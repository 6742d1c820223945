"""What the night does with data whose keeping time is over (P-4.6, SEC-17)."""

from collections.abc import Iterable
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from jingwei.base import audit
from jingwei.base.personal import Kept, digest_of
from jingwei.oversight import journal
from jingwei.oversight.models import Erasure

KIND = "kept"  # what an entry of the journal is about
MOST_COUNTED = 100_000  # rows of a kind that the page counts


def kinds() -> list[Kept]:
    """Every kind of data with a keeping time, in the order in which they are erased."""
    from jingwei import menu  # it imports this package

    return [kept for package in menu.PERSONAL for kept in package.KEPT]


def due_tonight(now) -> list[tuple[Kept, int]]:
    """Each kind with the number of rows that would go now, counted up to a bound."""
    return [(kept, kept.due(kept.limit(now))[:MOST_COUNTED].count()) for kept in kinds()]


def erase_expired(actor, job, report) -> dict:
    """Kind of job: erase what is past its keeping time, lot by lot, each in a transaction of its own.

    A lot and its place in the proof are one transaction, so a job that was cut off goes on where it was. Of
    each kind of which something went there is one proof and one line in the operation log. Data in use are
    left for the next night.
    """
    now, told, total = timezone.now(), [], 0
    for kept in kinds():
        try:
            proof = _erase(actor, kept, kept.limit(now), kept.rule(), report)
        except ValidationError as refusal:
            told.append(f"{kept.label}未清理完（{'；'.join(refusal.messages)}）")
            continue
        if proof:
            told.append(f"{kept.label} {proof.count:,} 条")
            total += proof.count
    return {"message": f"清理了 {'，'.join(told)}。" if told else "没有到期的数据。"}


def erase_again(actor, entries: Iterable[dict]) -> list[Erasure]:
    """Erase what the nights of a journal had erased, up to the last limit of each kind; the proofs."""
    last = {}
    for entry in entries:
        if entry["about"] == KIND:
            limit = datetime.fromisoformat(entry["before"]), entry["rule"]
            last[entry["kind"]] = max(limit, last.get(entry["kind"], limit))
    found = []
    for kept in kinds():
        if kept.name in last:
            limit, rule = last[kept.name]
            # A night that the backup cut off ends first, with the limit it had.
            while proof := _erase(actor, kept, limit, rule):
                found.append(proof)
    return found


def _erase(actor, kept, limit, rule, report=lambda done, total: None) -> Erasure | None:
    """Erase all rows of a kind from before the limit; its proof, None where nothing was."""
    proof = Erasure.objects.filter(kind=kept.name, ended_at=None).first()
    if proof is None:
        proof = Erasure(kind=kept.name, label=kept.label, rule=rule, before=limit)
    while True:
        with transaction.atomic():
            gone = kept.erase_some(proof.before)
            if gone is not None:
                if proof.pk is None:
                    told = {"kind": kept.name, "before": proof.before.isoformat(), "rule": proof.rule}
                    journal.append({"about": KIND} | told)
                proof.count += gone.count
                proof.digest = digest_of(proof.digest, kept.model, gone.keys)
                proof.save()
            elif proof.pk:
                proof.ended_at = timezone.now()
                proof.save()
                audit.record(
                    actor,
                    "到期清理",
                    proof,
                    resource="erasures",
                    保存期限=proof.rule,
                    删除条数=proof.count,
                    摘要=proof.digest,
                )
        if gone is None:
            return proof if proof.pk else None
        report(proof.count, proof.count)

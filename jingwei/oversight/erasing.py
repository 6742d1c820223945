"""What the night does with data whose keeping time is over (P-4.6, SEC-17)."""

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from jingwei.base import audit
from jingwei.base.personal import Kept, digest_of
from jingwei.oversight.models import Erasure

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
            proof = _erase(actor, kept, now, report)
        except ValidationError as refusal:
            told.append(f"{kept.label}未清理完（{'；'.join(refusal.messages)}）")
            continue
        if proof:
            told.append(f"{kept.label} {proof.count:,} 条")
            total += proof.count
    return {"message": f"清理了 {'，'.join(told)}。" if told else "没有到期的数据。"}


def _erase(actor, kept, now, report) -> Erasure | None:
    """Erase all rows of a kind that are due; its proof, None where nothing was."""
    proof = Erasure.objects.filter(kind=kept.name, ended_at=None).first()
    if proof is None:
        proof = Erasure(kind=kept.name, label=kept.label, rule=kept.rule(), before=kept.limit(now))
    while True:
        with transaction.atomic():
            gone = kept.erase_some(proof.before)
            if gone is not None:
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

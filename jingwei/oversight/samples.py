"""One valid row per model, for tests and the shared suite."""

from datetime import timedelta

from django.utils import timezone

from jingwei.oversight.forgetting import mark_of
from jingwei.oversight.models import Erasure, ErasureRequest
from jingwei.people.samples import VILLAGE, number


def erasure() -> Erasure:
    now = timezone.now()
    return Erasure.objects.create(
        kind="samples",
        label="核酸检测记录",
        rule="730 天",
        before=now - timedelta(days=730),
        ended_at=now,
        count=12,
        digest="66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0",
    )


def erasure_request() -> ErasureRequest:
    whose = number()
    return ErasureRequest.objects.create(
        number=whose,
        mark=mark_of(whose),
        region=VILLAGE,
        reason="本人书面申请",
        asker="样例",
    )


SAMPLES = {Erasure: erasure, ErasureRequest: erasure_request}

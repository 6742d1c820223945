"""One valid row per model, for tests and the shared suite."""

from datetime import timedelta

from django.utils import timezone

from jingwei.base.partitions import ensure_months
from jingwei.people.samples import person
from jingwei.testing.models import Sample, SampleBefore


def sample() -> Sample:
    tested, at = person(), timezone.now() - timedelta(days=1)
    ensure_months(Sample._meta.db_table, at, at)
    return Sample.objects.create(
        number=tested.number,
        sampled_at=at,
        point="安平街道上埔社区采样点",
        region=tested.region_id,
        name=tested.name,
        institution="安澜检验所",
        result="阴性",
        result_at=at,
    )


def sample_before() -> SampleBefore:
    now = sample()
    copied = {name: getattr(now, name) for name in ("number", "sampled_at", "point", "region", "name")}
    return SampleBefore.objects.create(**copied, result="待出", by_name="样例")


SAMPLES = {Sample: sample, SampleBefore: sample_before}

"""The timetable of the scans, and the jobs that their pages start."""

from datetime import datetime

from django.utils import timezone

from jingwei.desk.tasks import KINDS, Kind, schedule
from jingwei.scans.actions import NIGHT, Chosen, erase_scans, run_nightly
from jingwei.scans.evaluation import has_late_changes, reevaluate

ERASE = "erase-scans"


def night(actor, job, report) -> dict:
    """Kind of job: the night's work of today."""
    return {
        "message": "；".join(f"{what}：{came}" for what, came in run_nightly(timezone.localdate()).items())
    }


def erase(actor, job, report) -> dict:
    """Kind of job: delete the scans that the operator has confirmed."""
    asked = job.arguments
    since, until = (datetime.fromisoformat(asked[name]) for name in ("since", "until"))
    chosen = Chosen(asked["by"], since, until, asked["venue_code"])
    return {"message": f"已删除扫码记录 {erase_scans(actor, chosen, expected=asked['expected']):,} 条。"}


def follow_changes(actor, job, report) -> dict:
    """Kind of job: hold what has changed of days gone by against the thresholds."""
    return {"message": f"{reevaluate(NIGHT)}。"}


KINDS[ERASE] = Kind("删除扫码记录", erase)
# 02:30 in China.
schedule("scans-nightly", "场所比对与扫码预警", night, "30 18 * * *")
# Scans that come or go bring their alerts in line themselves, thresholds that change by an import do not.
schedule("scans-changes", "预警复核", follow_changes, "* * * * *", due=has_late_changes)

"""`jingwei run-nightly`: what the night does at the venues, as the timetable does (KP-1.4, KP-6, KP-8.1)."""

from datetime import date

from django.utils import timezone

from jingwei.scans.actions import run_nightly


def add_arguments(parser):
    parser.add_argument(
        "--today",
        type=date.fromisoformat,
        metavar="YYYY-MM-DD",
        help="当作哪一天的夜间，默认今天；评估到前一天",
    )


def run(options):
    for what, came in run_nightly(options.today or timezone.localdate()).items():
        print(f"{what}：{came}")
    return 0

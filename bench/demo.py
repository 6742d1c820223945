"""I3: how fast `jingwei demo` fills an instance, indexes and statistics included."""

import time

from bench import Figure
from jingwei.cli.demo import ensure_demo, people_made

SMALL, FULL = 100_000, 1_000_000


def measure(full):
    """People a second into an empty register, as `jingwei demo` says it."""
    count, before = FULL if full else SMALL, people_made()
    started = time.perf_counter()
    ensure_demo(before + count, progress=lambda done, total: None)
    speed = count / (time.perf_counter() - started)
    what = f"demonstration people a second, {count:,} of them"
    return [Figure("I3", what, speed, "/s", 20_000, at_least=True)]

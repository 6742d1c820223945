"""One process that writes to the operation log as fast as it can: `python -m bench.log_writer SECONDS`.

Each row is a transaction of its own, as after a request. Prints how many rows that were.
"""

import sys
import time

import django


def main(seconds):
    django.setup()
    from jingwei.base import audit
    from jingwei.base.access import Actor

    actor = Actor(
        name="村居演示账号", operator_id=7, login="village", organisation="某村民委员会", address="192.0.2.1"
    )
    audit.record(actor, "查看", resource="people", label="样例")  # connected, key at hand
    rows, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        audit.record(actor, "查看", resource="people", label="样例", changes={"电话": ["", "138****5678"]})
        rows += 1
    print(rows)


if __name__ == "__main__":
    main(float(sys.argv[1]))

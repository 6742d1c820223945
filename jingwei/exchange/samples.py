"""One valid row per model, for tests and the shared suite: a source where nobody answers."""

from itertools import count

from jingwei.exchange.models import FrontFeed, FrontSource

_numbers = count(1)


def source(**values) -> FrontSource:
    made = {
        "name": f"省场所码前置库样例{next(_numbers)}",
        "kind": FrontSource.POSTGRESQL,
        "host": "127.0.0.1",
        "port": 9,
        "database": "front",
        "user": "reader",
        "security": FrontSource.PLAIN,
    }
    return FrontSource.objects.create(**made | values)


def feed(**values) -> FrontFeed:
    """A feed of the next kind of data that has none; beyond these, of one that no sheet knows."""
    taken = set(FrontFeed.objects.values_list("sheet", flat=True))
    free = next((name for name in ("scans", "venues") if name not in taken), f"sample{next(_numbers)}")
    made = {"sheet": free, "table": "scan_record", "mark": "id", "columns": {"venue_code": "venue_code"}}
    if "source" not in values:
        made["source"] = source()
    return FrontFeed.objects.create(**made | values)


SAMPLES = {FrontSource: source, FrontFeed: feed}

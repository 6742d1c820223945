"""`make bench`: prints the figures as a table and writes them to var/bench.json.

Everything runs on an instance of its own in a temporary folder. SCALE=full takes the sizes of the spec and an
hour; without it the sizes are small enough for ten minutes on two cores. Arguments name the modules to run.
"""

import json
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

MODULES = [
    "roster",
    "demo",
    "search",
    "statistics",
    "export",
    "lists",
    "wall",
    "scans",
    "tracing",
    "entry",
    "signin",
    "audit",
    "encryption",
    "keys",
]
RESULT = Path("var/bench.json")


def main():
    chosen = sys.argv[1:] or MODULES
    with tempfile.TemporaryDirectory(prefix="jingwei-bench-") as home:
        os.environ |= {"JINGWEI_HOME": home, "DJANGO_SETTINGS_MODULE": "jingwei.settings"}
        os.environ.pop("DATABASE_URL", None)
        figures = _measure(chosen, Path(home), full=os.environ.get("SCALE") == "full")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps([_row(figure) for figure in figures], ensure_ascii=False, indent=1))
    sys.exit(0 if all(figure.ok for figure in figures) else 1)


def _measure(chosen, home, full):
    import django

    django.setup()
    from jingwei import embedded
    from jingwei.base import wall
    from jingwei.cli.migrate import migrate
    from jingwei.directory.setup import ensure_base

    wall.unplaced = wall.BEYOND  # pages and commands stand where they do; what is made for them stands here

    with embedded.Server(home / "pg", tied=True):
        with wall.as_owner():
            migrate()
        ensure_base()
        figures = []
        for name in chosen:
            print(f"{name} …", file=sys.stderr, flush=True)
            measured = import_module(f"bench.{name}").measure(full)
            _print(measured)  # what is known is known, whatever becomes of the next
            figures += measured
    return figures


def _row(figure):
    ratio = None if figure.ratio is None else round(figure.ratio, 3)
    named = ("id", "what", "ours", "reference", "limit", "unit", "ok")
    return {name: getattr(figure, name) for name in named} | {"ratio": ratio}


def _print(figures):
    print(f"{'id':8} {'ours':>12} {'reference':>12} {'ratio':>7} {'limit':>7}  {'':4} what")
    for f in figures:
        reference = "" if f.reference is None else f"{f.reference:,.2f} {f.unit}"
        ratio = "" if f.ratio is None else f"{f.ratio:.2f}"
        ours, limit = f"{f.ours:,.2f} {f.unit}", f"{'≥' if f.at_least else '≤'} {f.limit:g}"
        verdict = "ok" if f.ok else "MISS"
        print(f"{f.id:8} {ours:>12} {reference:>12} {ratio:>7} {limit:>7}  {verdict:4} {f.what}")


if __name__ == "__main__":
    main()

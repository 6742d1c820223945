"""Who may import whom (docs/architecture.md §1). A new crossing changes this test in the same commit."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "jingwei"
# Each package may import those to its left.
ORDER = ["kit", "base", "directory", "desk", "messages", "exchange", "places", "people", "cases"]
SIDE_BY_SIDE = [
    "scans",
    "testing",
    "quarantine",
    "video",
    "civility",
    "volunteers",
    "reports",
    "screens",
    "oversight",
    "running",
]
# Inside a package a room imports only from rooms of its own number or below; rooms with other names count as
# actions (2). kit, base and desk are no businesses and have no such rooms.
FACES = [
    "resources",
    "pages",
    "registering",
    "review",
    "tracing",
    "footfall",
    "venue_map",
    "emergency_desk",
    "personal_desk",
    "cryptography",
    "forms",
    "account",
    "elsewhere",
    "openid",
    "providers",
    "wechat",
    "middleware",
    "turns",
    "urls",
    "mobile",
    "screen",
    "api",
    "tasks",
    "sheets",
]
# What models keep by triggers (day_counts) belongs to them; parameters know nobody, and defaults go by them.
ROOMS = {"models": 0, "day_counts": 0, "parameters": 0, "queries": 1, **dict.fromkeys(FACES, 3)}
TOOLS = {"kit", "base", "desk"}
# What another package may be asked for; faces and sheets stay at home. The last two are actions, too.
OPEN = {"models", "day_counts", "queries", "actions", "unregistered", "personal"}
# kit, base, directory and desk are the ground the businesses stand on: all their rooms are open to the right.
GROUND = {"kit", "base", "directory", "desk"}
# The menu lists what the desk draws, what roles can be granted and what a feed can bring: these read it.
READ_THE_MENU = {"desk", "directory", "exchange", "oversight"}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if (
            parts[0] in ORDER + SIDE_BY_SIDE
            and not {"tests", "migrations"} & set(parts)
            and parts[-1] != "samples"
        ):
            yield pytest.param(path, parts, id="/".join(parts))


def imported(path):
    """Dotted names of ours that a module imports, at the top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name


@pytest.mark.parametrize(("path", "parts"), list(modules()))
def test_a_module_imports_only_what_stands_below_it(path, parts):
    own, room = parts[0], parts[1] if len(parts) > 1 else "__init__"
    for name in imported(path):
        words = name.split(".")
        if words[0] != "jingwei" or len(words) < 2:
            assert not (own == "kit" and words[0] == "django"), f"kit knows no Django: {name}"
            continue
        package, theirs = words[1], words[2] if len(words) > 2 else ""
        if package == own:
            ranked = own not in TOOLS
            assert not ranked or ROOMS.get(theirs, 2) <= ROOMS.get(room, 2), f"{room} imports {theirs}"
            continue
        if package == "menu" and own in READ_THE_MENU:
            continue
        assert package in ORDER + SIDE_BY_SIDE, f"{own} imports {name}"
        if package in ORDER:
            assert own not in ORDER or ORDER.index(package) < ORDER.index(own), f"{own} imports {package}"
        else:
            pytest.fail(f"{own} imports {package}, which stands beside it")
        assert package in GROUND or theirs in OPEN, (
            f"{own} imports {name}: a face or a sheet of another package"
        )


def test_the_businesses_know_no_request_below_their_faces():
    for param in modules():
        path, parts = param.values
        if parts[0] not in TOOLS and ROOMS.get(parts[1], 2) < 3:
            names = list(imported(path))
            assert not [
                n for n in names if n.startswith(("django.http", "django.shortcuts", "django.forms"))
            ], path

"""Fill the table of docs/security.md: which tests prove a statement and where in the code it stands.

The first two columns, id and words, are written by hand in the document itself. The other two follow from the
tests' `@pytest.mark.req(...)` marks and from the ids that the code names in its docstrings and comments.
Without --check the document is written anew; with it nothing is, and the exit code is 1 where it differs or a
statement lacks a test or a place.
"""

import argparse
import ast
import re
import sys
from collections import defaultdict

from requirements import PROJECT, REQUIREMENTS, tests_by_requirement

DOCUMENT = PROJECT / "docs" / "security.md"
PLACES = ("jingwei/**/*.py", "jingwei/**/*.sql", "deploy/**/*", ".ci/*", "Makefile")
ANSWERED = re.compile(r"SEC-\d+|P-1\.(?:8|9|10)|P-[234]\.\d+")  # what the table must have a row for
ROW = re.compile(r"\| (?P<id>[A-Z]+-[\d.]+) \| (?P<words>[^|]+) \|.*")


def places_of(path):
    """Pairs of requirement id and name of the definition around it ("" outside of all) in one file."""
    text = path.read_text(encoding="utf-8")
    matches = re.finditer(r"\b(SEC-\d+|P-\d+\.\d+)\b", text)
    found = [(match[0], text.count("\n", 0, match.start()) + 1) for match in matches]
    if not found:
        return
    definitions = (
        [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        if path.suffix == ".py"
        else []
    )
    for requirement, line in found:
        around = [node for node in definitions if node.lineno <= line <= node.end_lineno]
        yield requirement, max(around, key=lambda node: node.lineno).name if around else ""


def code_by_requirement():
    """{requirement id: {path: names of the definitions that answer for it}}."""
    code = defaultdict(lambda: defaultdict(set))
    for path in (path for pattern in PLACES for path in PROJECT.glob(pattern) if path.is_file()):
        if "tests" not in path.parts:
            for requirement, name in places_of(path):
                code[requirement][path.relative_to(PROJECT).as_posix()].add(name)
    return code


def cell(paths):
    """A cell of the table: each path, shortened, with the names found there."""
    return "<br>".join(
        " ".join([f"[{short(path)}](../{path})", *(f"`{name}`" for name in sorted(names) if name)])
        for path, names in sorted(paths.items())
    )


def short(path):
    return path.removeprefix("jingwei/").replace("/tests/", "/").removesuffix(".py")


def filled(document, tests, code):
    """The document with the last two columns of its table as they are now, and what is missing."""
    missing = []

    def row(match):
        requirement = match["id"]
        proofs = {proof.partition("::")[0]: () for proof in tests[requirement]}
        for kind, found in (("test", proofs), ("place in the code", code[requirement])):
            if not found:
                missing.append(f"{requirement} has no {kind}")
        cells = [cell(found) or "—" for found in (proofs, code[requirement])]
        return f"| {requirement} | {match['words']} | {' | '.join(cells)} |"

    return "\n".join(ROW.sub(row, line) for line in document.split("\n")), missing


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, say what is missing")
    check = parser.parse_args().check
    document = DOCUMENT.read_text(encoding="utf-8")
    now, missing = filled(document, tests_by_requirement(), code_by_requirement())
    rows = {match["id"] for match in map(ROW.fullmatch, now.split("\n")) if match}
    asked = [each for each in REQUIREMENTS.read_text().split() if ANSWERED.fullmatch(each)]
    missing += [f"{each} has no row in the table" for each in asked if each not in rows]
    if not check:
        DOCUMENT.write_text(now, encoding="utf-8")
    elif now != document:
        missing.append("docs/security.md is not as the code is now: make security")
    print("\n".join(missing) or f"{len(rows)} statements, each with its tests and its place")
    return 1 if check and missing else 0


if __name__ == "__main__":
    sys.exit(main())

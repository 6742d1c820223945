"""Which requirements of the spec have a test, read from the tests' `@pytest.mark.req("P-4.1")` marks.

tools/requirements.py                the list, then the count; exit code 1 if a mark names no requirement
tools/requirements.py SEC-9 P-3.2    every test of these
tools/requirements.py --spec FOLDER  write docs/requirements.txt anew from a folder of the spec's files
"""

import argparse
import ast
import re
import sys
from collections import defaultdict
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
REQUIREMENTS = PROJECT / "docs" / "requirements.txt"


def requirements_of(spec):
    """The ids that a spec file defines, in its order: **P-1.1 Title.** in text, | SEC-1 | in a table."""
    return re.findall(r"(?:\*\*|^\| )((?:[A-Z]+)-[A-Z]?[0-9]+(?:\.[0-9]+)?)\b", spec, re.MULTILINE)


def marked_tests(path):
    """Pairs of requirement id and test name in one test file; a mark on a class or the file counts too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name, marks = node.name, node.decorator_list
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            name, marks = "all", [node.value]
        else:
            continue
        for mark in marks:
            for call in ast.walk(mark):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.req":
                    for argument in call.args:
                        yield ast.literal_eval(argument), f"{path.relative_to(PROJECT)}::{name}"


def tests_by_requirement():
    """{requirement id: its tests} of the whole project."""
    tests = defaultdict(list)
    for path in sorted(PROJECT.glob("jingwei/**/test_*.py")) + sorted(PROJECT.glob("tests/**/test_*.py")):
        for requirement, test in marked_tests(path):
            tests[requirement].append(test)
    return tests


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ids", nargs="*", help="the requirements to list every test of")
    parser.add_argument("--spec", type=Path, help="write the list of requirements anew from these files")
    arguments = parser.parse_args()
    spec, ids = arguments.spec, arguments.ids
    if spec:
        ids = [
            each for path in sorted(spec.glob("*.md")) for each in requirements_of(path.read_text("utf-8"))
        ]
        REQUIREMENTS.write_text("".join(f"{each}\n" for each in ids))

    tests = tests_by_requirement()
    if ids:
        print("\n".join(f"{each} {test}" for each in ids for test in tests[each]))
        return 0
    requirements = REQUIREMENTS.read_text().split()
    for requirement in requirements:
        proofs = tests[requirement]
        more = f" (+{len(proofs) - 1})" if len(proofs) > 1 else ""
        print(f"{requirement:8} {proofs[0] + more if proofs else '-'}")

    unknown = sorted(tests.keys() - set(requirements))
    for requirement in unknown:
        print(f"{requirement}: no such requirement, marked in {tests[requirement][0]}")
    proven = sum(1 for requirement in requirements if tests[requirement])
    print(f"{proven} of {len(requirements)} requirements have a test, {len(requirements) - proven} have none")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())

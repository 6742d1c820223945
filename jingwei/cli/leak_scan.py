"""`jingwei leak-scan [FOLDER...]`: whether what the platform leaves behind shows personal values (SEC-13).

Numbers, phones and addresses of some people of the register are looked for, in every writing that programs
use, in the files below the folders and in a dump of the database. What is found is told by place and kind,
never by value. Exit code 1 if anything is.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from django.conf import settings
from django.core.management import CommandError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from jingwei import embedded
from jingwei.base.fields import bulk_reveal
from jingwei.base.wall import beyond_scope
from jingwei.cli.backup import owner_url
from jingwei.kit.leaks import Leaks
from jingwei.people.models import Person

KINDS = {"number": "证件号", "phone": "联系电话", "registered_address": "户籍地", "address": "居住地"}
PEOPLE = 20_000
SECONDS = 10  # after which it says where it is


def add_arguments(parser):
    parser.add_argument(
        "folders", metavar="FOLDER", type=Path, nargs="*", help="要扫描的目录（默认：实例目录和临时目录）"
    )
    parser.add_argument(
        "--people", type=int, default=PEOPLE, metavar="N", help=f"查多少人的信息（默认 {PEOPLE}）"
    )
    parser.add_argument("--no-dump", action="store_true", help="不导出数据库来扫描")


def run(options):
    usual = [settings.JINGWEI_HOME, settings.JINGWEI_FILES, Path(tempfile.gettempdir())]
    folders = options.folders or [folder for folder in usual if folder.exists()]
    for folder in folders:
        if not folder.is_dir():
            raise CommandError(f"没有目录 {folder}。")
    kinds = _values(options.people)
    leaks, files, findings = Leaks(kinds), 0, 0
    told = time.monotonic()
    for path in _files(folders):
        if time.monotonic() > told + SECONDS:
            told = time.monotonic()
            print(f"已扫描 {files:,} 个文件，正在扫描 {path}", file=sys.stderr, flush=True)
        try:
            with open(path, "rb") as content:
                found = leaks.found_in_stream(content)
        except OSError:  # gone meanwhile, or another user's
            continue
        files += 1
        findings += _tell(path, found, kinds)
    if not options.no_dump:
        print("正在导出并扫描数据库", file=sys.stderr, flush=True)
        with _dump() as dump:
            findings += _tell("数据库", leaks.found_in_stream(dump.stdout), kinds)
        if dump.returncode:
            raise CommandError("数据库没有导出成功，见上面的提示。")
    where = f"{files:,} 个文件" + ("" if options.no_dump else "和数据库")
    print(f"用 {len(leaks):,} 个证件号、电话、地址扫描了{where}，发现 {findings} 处明文。")
    return 1 if findings else 0


def _values(people):
    """{value: kind in words} of the people who came last."""
    with beyond_scope():
        chosen = list(Person.objects.only(*KINDS).order_by("-pk")[:people])
        bulk_reveal(chosen, KINDS)
    found = [(getattr(one, name), label) for name, label in KINDS.items() for one in chosen]
    return {value.clear(): label for value, label in found if value}


def _files(folders):
    seen = set()
    for folder in folders:
        for place, _, names in os.walk(folder):
            for path in (Path(place, name) for name in names):
                if path.is_file() and not path.is_symlink() and path not in seen:
                    seen.add(path)
                    yield path


def _tell(where, found, kinds):
    for label in KINDS.values():
        if count := sum(1 for value in found if kinds[value] == label):
            print(f"{where}：{label} {count} 个")
    return len(found)


def _dump():
    address = conninfo_to_dict(owner_url())
    password = address.pop("password", None)
    return subprocess.Popen(
        [embedded.BIN / "pg_dump", f"--dbname={make_conninfo(**address)}"],
        env=os.environ | ({"PGPASSWORD": password} if password else {}),
        stdout=subprocess.PIPE,
        preexec_fn=embedded.die_with_parent,
    )

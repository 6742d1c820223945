"""`jingwei rotate-keys`: keys change while everybody works (P-4.4).

Cut off anywhere, the same command goes on. The old key stays in the ring until `--retire`, for backups that
were made under it.
"""

from jingwei.base import rotation
from jingwei.base.access import platform_actor
from jingwei.base.crypto import provider
from jingwei.oversight import rotating

ACTOR = platform_actor("命令行")


def add_arguments(parser):
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--status", action="store_true", help="只显示各密钥保护多少个值")
    what.add_argument("--retire", metavar="KEY", help="停用一个不再使用的旧密钥，例如 k1")
    what.add_argument("--master", action="store_true", help="更换主密钥，重新保护密钥环")


def run(options):
    if options.status:
        _show()
    elif options.retire:
        rotating.retire(ACTOR, options.retire)
        print(f"已停用旧密钥 {options.retire}。只有它能打开的旧备份，从此无法读取。")
    elif options.master:
        rotation.change_master(ACTOR)
        print("已更换主密钥，密钥环用新的主密钥保护。请备份新的主密钥文件。")
    else:
        _rotate()
    return 0


def _show():
    crypto, unfinished = provider(), rotation.running()
    for key_id in crypto.key_ids:
        found = rotation.usage(key_id)
        state = "当前" if key_id == crypto.key_id else "旧"
        print(f"{key_id}（{state}）　{sum(found.values()):,} 个值")
        for label, count in found.items():
            print(f"　　{label}　{count:,}")
    print(
        f"轮换 {unfinished} 没有完成，请再运行一次 jingwei rotate-keys" if unfinished else "没有进行中的轮换"
    )


def _rotate():
    shown = 0

    def report(moved):
        nonlocal shown
        if moved >= shown + 100_000:
            shown = moved
            print(f"已转换 {moved:,} 个值", flush=True)

    done = rotating.rotate(ACTOR, report)
    print(f"已换用新密钥 {done.new_key}，转换了 {done.moved:,} 个值。")
    print(f"旧密钥还在密钥环中，确认无误后请运行 jingwei rotate-keys --retire {done.old_key}")

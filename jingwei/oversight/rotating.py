"""Rotation of the keys as a whole: columns, files and saved queries (P-4.4)."""

from jingwei.base import rotation
from jingwei.desk import files, saved

KIND = "rotate-keys"
LABEL = "密钥轮换"


def rotate(actor, report=lambda moved: None):
    """Have everything that is kept sealed under a new key, or go on with it; the KeyRotation."""
    return rotation.rotate(actor, _move, report)


def retire(actor, key_id: str):
    """Forget an old key; ValidationError while anything that is kept needs it."""
    rotation.retire(actor, key_id, _count)


def _move(key_id):
    return files.move_keys(key_id) + saved.move_words(key_id)


def _count(key_id):
    return sum(1 for _ in files.keys_under(key_id)) + len(saved.words_under(key_id))


def work(actor, job, report):
    """Kind of job: a rotation, begun or gone on with."""
    total = rotation.estimate()
    done = rotate(actor, lambda moved: report(min(moved, total), max(total, 1)))
    told = f"已换用新密钥 {done.new_key}，转换了 {done.moved:,} 个值。"
    return {"message": f"{told}旧密钥 {done.old_key} 可以停用了。"}

"""What a password must be, and how one comes into being (SEC-1)."""

import secrets
import string
from datetime import timedelta

from django.contrib.auth.hashers import check_password
from django.contrib.auth.password_validation import CommonPasswordValidator
from django.core.exceptions import ValidationError
from django.utils import timezone

from jingwei.directory import parameters
from jingwei.directory.models import Operator, login_key

_CLASSES = (str.isupper, str.islower, str.isdecimal, lambda character: not character.isalnum())
_common = CommonPasswordValidator()
_LOOKALIKES = str.maketrans("@$!", "asi")

# Without look-alikes (0 O o, 1 I l) and without signs that get lost on the telephone.
_READABLE = ("ABCDEFGHJKLMNPQRSTUVWXYZ", "abcdefghijkmnpqrstuvwxyz", "23456789", "@#%+=?")


def random_password(length=14) -> str:
    """A password nobody chose, of all four classes of characters, easy to read aloud and to type."""
    while True:
        password = "".join(secrets.choice("".join(_READABLE)) for _ in range(length))
        if all(any(character in password for character in characters) for characters in _READABLE):
            return password


def require_good_password(operator: Operator, password: str):
    """Refuse a password too weak for `operator` or theirs lately; ValidationError with every reason."""
    shortest, classes = parameters.PASSWORD_LENGTH.value(), parameters.PASSWORD_CLASSES.value()
    reasons = []
    if len(password) < shortest:
        reasons.append(f"口令至少要有 {shortest} 个字符，现在是 {len(password)} 个")
    if len(password) > 128:
        reasons.append("口令最多 128 个字符")
    if sum(any(map(belongs, password)) for belongs in _CLASSES) < classes:
        reasons.append(f"大写字母、小写字母、数字、符号四种中至少要有 {classes} 种")
    folded = login_key(password)
    phone = operator.phone.clear() if operator.phone else ""
    for what, word in [
        ("登录名", operator.login_key),
        ("姓名", login_key(operator.name)),
        ("电话号码", phone),
    ]:
        if word and word in folded:
            reasons.append(f"口令中不能含有{what}")
    if _is_common(folded):
        reasons.append("这个口令太常见，容易被猜到：常用口令加上数字、符号也不行")
    # The comparison with old passwords costs as much as a sign-in each: only for one that is good otherwise.
    if not reasons and _was_used(operator, password):
        reasons.append(f"不能使用最近 {parameters.PASSWORD_HISTORY.value()} 次用过的口令")
    if reasons:
        raise ValidationError(reasons)


def _is_common(folded):
    """Whether it is one of the common list, or such a one with symbols, look-alikes and digits around it."""
    undressed = folded.rstrip(string.punctuation).translate(_LOOKALIKES)
    for text in (folded, undressed):
        plain = "".join(filter(str.isalnum, text)).lstrip(string.digits)
        shortest = len(plain.rstrip(string.digits))
        if any(plain[:end] in _common.passwords for end in range(max(shortest, 1), len(plain) + 1)):
            return True
    return folded in _common.passwords


def _was_used(operator, password):
    kept = [operator.password, *operator.old_passwords][: parameters.PASSWORD_HISTORY.value()]
    return any(check_password(password, encoded) for encoded in kept)


def set_password(operator: Operator, password: str, *, must_change: bool):
    """Give `operator` a password and save it; the old one is remembered, sessions end (SEC-3)."""
    if operator.has_usable_password():
        operator.old_passwords = [operator.password, *operator.old_passwords][
            : parameters.PASSWORD_HISTORY.high
        ]
    operator.set_password(password)
    operator.password_at = timezone.now()
    operator.must_change_password = must_change
    operator.save(update_fields=["password", "old_passwords", "password_at", "must_change_password"])


def must_change(operator: Operator) -> bool:
    """Whether the operator may open nothing but the page that changes the password."""
    lifetime = timedelta(days=parameters.PASSWORD_DAYS.value())
    return operator.must_change_password or timezone.now() - operator.password_at > lifetime

"""The second factor: one-time codes of a device, recovery codes for the day it is lost (P-2.2, SEC-4).

Codes follow RFC 6238 with what every authenticator application takes: six digits, 30 seconds, SHA-1.
"""

import base64
import secrets
import time
from hmac import compare_digest

import pyotp
from cryptography.hazmat.primitives import hashes
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from jingwei.base import audit
from jingwei.directory.models import Operator, SecondFactor, login_key

RECOVERY_CODES = 10
DRIFT = 1  # steps of 30 seconds that a device's clock may be off
CODE, RECOVERY = "动态口令", "恢复码"


def set_up(operator: Operator) -> SecondFactor:
    """The operator's second factor; one to be confirmed if there is none yet."""
    new = {"secret": pyotp.random_base32()}
    return SecondFactor.objects.get_or_create(operator=operator, defaults=new)[0]


def is_required(operator: Operator) -> bool:
    """Whether one of the operator's roles asks for a second factor (SEC-4)."""
    return any(role["second_factor"] for role in operator.held_roles)


def address_of(factor: SecondFactor) -> str:
    """What the QR code tells the device: an otpauth address with the secret."""
    return pyotp.TOTP(factor.secret.clear()).provisioning_uri(name=factor.operator.login, issuer_name="经纬")


@transaction.atomic
def confirm(actor, operator: Operator, code: str) -> list[str]:
    """Switch the second factor on once its device has told a right code; the recovery codes, told once."""
    factor = SecondFactor.objects.select_for_update().filter(operator=operator).first()
    if factor is None or factor.confirmed_at:
        raise ValidationError("没有正在设置的双因素登录，请刷新页面后重新操作")
    if not _takes(factor, code):
        raise ValidationError("动态口令不正确，请核对手机的时间是否准确，再输入当前显示的 6 位数字")
    factor.confirmed_at = timezone.now()
    codes = _new_recovery_codes(factor)
    audit.record(actor, "启用双因素", operator, resource="operators")
    return codes


@transaction.atomic
def renew_recovery_codes(actor, operator: Operator, *, by) -> list[str]:
    """New recovery codes instead of those left, told once. `by` is the kind of code that was given for it."""
    codes = _new_recovery_codes(SecondFactor.objects.select_for_update().get(operator=operator))
    audit.record(actor, "更换恢复码", operator, resource="operators", reason=by)
    return codes


@transaction.atomic
def switch_off(actor, operator: Operator, *, by):
    """Go back to the password alone, where no role asks for more. `by` is the kind of code given for it."""
    if is_required(operator):
        raise ValidationError("您的角色要求双因素登录，不能停用；更换手机请联系安全管理员重置")
    _forget(operator)
    audit.record(actor, "停用双因素", operator, resource="operators", reason=by)


@transaction.atomic
def reset(actor, operator: Operator, *, reason):
    """Take a lost device off an account: out at its next request, a new one is set up at the next sign-in."""
    if operator.pk == actor.operator_id:
        raise ValidationError("不能重置自己的双因素登录，请由另一位安全管理员办理")
    _forget(operator)
    audit.record(actor, "重置双因素", operator, resource="operators", reason=reason)


def _forget(operator):
    if not SecondFactor.objects.filter(operator=operator).delete()[0]:
        raise ValidationError(f"“{operator}”没有启用双因素登录")


@transaction.atomic
def accept(operator: Operator, code: str) -> str:
    """Use up a code of the operator's device or a recovery code; which of the two it was, "" if neither."""
    factor = SecondFactor.objects.select_for_update().filter(operator=operator).first()
    if factor is None or factor.confirmed_at is None:
        return ""
    if _takes(factor, code):
        factor.save()
        return CODE
    digest = _digest(operator.pk, code)
    if digest not in factor.recovery:
        return ""
    factor.recovery.remove(digest)
    factor.save()
    return RECOVERY


def _takes(factor, code):
    """Whether the code is right now and newer than the last one taken, which it then becomes."""
    totp = pyotp.TOTP(factor.secret.clear())
    now, entered = int(time.time()) // totp.interval, _plain(code)
    for step in range(now - DRIFT, now + DRIFT + 1):
        if step > factor.last_step and compare_digest(totp.generate_otp(step).encode(), entered.encode()):
            factor.last_step = step
            return True
    return False


def _new_recovery_codes(factor):
    # 80 random bits each: too many to try, so that a plain digest keeps them as well as a slow one.
    codes = [base64.b32encode(secrets.token_bytes(10)).decode().lower() for _ in range(RECOVERY_CODES)]
    factor.recovery = [_digest(factor.operator_id, code) for code in codes]
    factor.save()
    return ["-".join(code[start : start + 4] for start in range(0, 16, 4)) for code in codes]


def _digest(operator_id, code):
    digest = hashes.Hash(hashes.SM3())
    digest.update(f"{operator_id} {_plain(code)}".encode())
    return digest.finalize().hex()


def _plain(code):
    """A code as it is compared: without what people put between its parts."""
    return "".join(character for character in login_key(code) if character.isalnum())

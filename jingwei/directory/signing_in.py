"""Signing in and out: tries, locks, passwords, the appointment worked in (P-2.1, P-2.3, SEC-1 to SEC-3)."""

import time
from datetime import timedelta

from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from jingwei.base import audit
from jingwei.base.access import Actor
from jingwei.directory import parameters, passwords
from jingwei.directory.actors import actor_for
from jingwei.directory.models import Guard, Operator, SignIn, login_key

WRONG = "登录名或口令不正确"


def sign_in(login: str, password: str, *, address: str, device: str, request_id: str = "") -> Operator:
    """The operator who gave the right name and password; ValidationError says why not.

    A name that does not exist is answered, counted, locked and timed like one that does.
    """
    where = {"address": address, "device": device, "request_id": request_id}
    key = login_key(login)[:40]
    operator = Operator.objects.select_related("organisation").filter(login_key=key).first()
    until = _locked_until(f"name {key}", f"address {address}")
    if until:
        refusal = f"输错次数过多，已锁定。请在 {timezone.localtime(until):%H:%M} 以后再试，或请管理员解锁"
        raise _refuse(key, operator, refusal, "锁定中", where)
    # The try counts before it is checked, so that many at the same moment do not all get through.
    left = _count(f"name {key}", key)
    if operator is None:
        make_password(password)  # takes as long as checking one
        right = False
    else:
        right = operator.check_password(password)
    if not right:
        _count(f"address {address}", key, distinct=True)
        warning = f"，再输错 {left} 次将锁定" if left else f"，已锁定 {parameters.LOCK.value()} 分钟"
        raise _refuse(key, operator, WRONG + warning, WRONG, where)
    _forgive(key, address)
    if not operator.is_active:
        raise _refuse(key, operator, "账号已停用或已到期，请联系管理员", "账号停用或到期", where)
    actor = actor_for(operator, **where)
    unused = timezone.now() - (operator.last_login or operator.created_at)
    # Who grants is spared: nobody would be left to enable anyone again.
    if unused > timedelta(days=parameters.UNUSED.value()) and not actor.may("roles.grant"):
        Operator.objects.filter(pk=operator.pk).update(enabled=False)
        raise _refuse(key, operator, "账号长期未使用，已停用，请联系管理员重新启用", "长期未登录停用", where)
    with transaction.atomic():
        SignIn.objects.create(login=key, operator=operator, address=address, device=device, succeeded=True)
        audit.record(actor, "登录", operator, resource="operators")
        Guard.objects.filter(updated_at__lt=timezone.now() - timedelta(days=2)).delete()
    return operator


@transaction.atomic
def _refuse(key, operator, refusal, reason, where):
    """Log a try that failed; returns the refusal to raise."""
    SignIn.objects.create(
        login=key,
        operator=operator,
        address=where["address"],
        device=where["device"],
        succeeded=False,
        reason=reason,
    )
    actor = Actor(
        name=operator.name if operator else "",
        operator_id=operator.pk if operator else None,
        login=key,
        organisation=operator.organisation.name if operator else "",
        **where,
    )
    audit.record(actor, "登录", resource="operators", label=key, result="拒绝", reason=reason)
    return ValidationError(refusal)


def _locked_until(*keys):
    """When the last lock on one of the keys ends; None if none is locked."""
    locks = Guard.objects.filter(key__in=keys, locked_until__gt=timezone.now())
    return max(locks.values_list("locked_until", flat=True), default=None)


@transaction.atomic
def _count(key, login, *, distinct=False) -> int:
    """Count one bad try on `key` and lock it when there are too many; returns how many are left.

    `distinct` counts different names: one person who errs often must not lock an office out.
    """
    Guard.objects.bulk_create([Guard(key=key)], ignore_conflicts=True)
    guard = Guard.objects.select_for_update().get(key=key)
    now = time.time()
    since = now - 60 * parameters.WINDOW.value()
    guard.tries = [[at, name] for at, name in guard.tries if at > since][-1000:] + [[now, login]]
    allowed = (parameters.ADDRESS_TRIES if distinct else parameters.TRIES).value()
    left = allowed - len({name if distinct else at for at, name in guard.tries})
    if left <= 0:
        guard.locked_until = timezone.now() + timedelta(minutes=parameters.LOCK.value())
        guard.tries = []
    guard.save()
    return max(left, 0)


@transaction.atomic
def _forgive(login, address):
    """Who finds the right password in the end was no stranger: what went before counts no more."""
    Guard.objects.filter(key=f"name {login}").delete()
    for guard in Guard.objects.select_for_update().filter(key=f"address {address}"):
        guard.tries = [[at, name] for at, name in guard.tries if name != login]
        guard.save()


def unlock(operator: Operator) -> bool:
    """Forget the bad tries with the operator's name; False if there were none."""
    return Guard.objects.filter(key=f"name {operator.login_key}").delete()[0] > 0


def sign_out(actor: Actor):
    """Log that the operator signs out."""
    audit.record(actor, "退出", resource="operators", label=actor.login)


def change_own_password(actor: Actor, operator: Operator, *, old: str, new: str):
    """Change one's own password; ValidationError, by field, for a wrong old or a weak new one."""
    until = _locked_until(f"name {operator.login_key}")
    if until:
        raise ValidationError({"old": f"输错次数过多，请在 {timezone.localtime(until):%H:%M} 以后再试"})
    _count(f"name {operator.login_key}", operator.login_key)
    if not operator.check_password(old):
        audit.record(actor, "改密", operator, resource="operators", result="拒绝", reason="原口令不正确")
        raise ValidationError({"old": "原口令不正确"})
    unlock(operator)
    if new == old:
        raise ValidationError({"new": "新口令不能与原口令相同"})
    try:
        passwords.require_good_password(operator, new)
    except ValidationError as error:
        raise ValidationError({"new": error.messages}) from error
    with transaction.atomic():
        passwords.set_password(operator, new, must_change=False)
        audit.record(actor, "改密", operator, resource="operators")


def session_is_over(begun: float, seen: float) -> bool:
    """Whether a session of these times (seconds since 1970) has been idle or has lasted too long (SEC-3)."""
    now = time.time()
    return now - seen > 60 * parameters.IDLE.value() or now - begun > 3600 * parameters.LONGEST.value()

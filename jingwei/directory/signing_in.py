"""Signing in and out: tries, locks, passwords, second factor (P-2.1 to P-2.3, SEC-1 to SEC-4)."""

import time
from datetime import timedelta

from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from jingwei.base import audit
from jingwei.base.access import Actor
from jingwei.directory import captchas, factors, parameters, passwords
from jingwei.directory.actors import actor_for
from jingwei.directory.models import Guard, Operator, Provider, Session, SignIn, login_key
from jingwei.kit.networks import is_inside, origin_of

WRONG = "登录名或口令不正确"
WRONG_CODE = "动态口令或恢复码不正确"
UNUSED = "长期未登录停用"
LOCKED = "locked"  # code of the refusal


def sign_in(
    login: str, password: str, captcha=("", ""), *, address: str, device: str, request_id: str = ""
) -> Operator:
    """The operator who gave the right name and password; ValidationError says why not.

    `captcha` is token and answer of a question, where `asks_captcha`.

    With a second factor this is only half of it: `give_code` is the other. A name that does not exist is
    answered, counted, locked and timed like one that does.
    """
    where = {"address": address, "device": device, "request_id": request_id}
    key = login_key(login)[:40]
    operator = Operator.objects.select_related("organisation").filter(login_key=key).first()
    _refuse_if_locked(key, operator, where)
    if asks_captcha(key, address) and not captchas.take(*captcha):
        refusal = captchas.WRONG if captcha[1] else "请填写验证码"
        raise ValidationError({"captcha": refuse(key, operator, refusal, "验证码不正确", where)})
    # The try counts before it is checked, so that many at the same moment do not all get through.
    left = _count(f"name {key}", key)
    if operator is None:
        make_password(password)  # takes as long as checking one
        right = False
    else:
        right = operator.check_password(password)
    if not right:
        _note_lock(_trying(key, operator, where), f"name {key}", left)
        at_address = _count(_door(address), key, once=_is_at_home(key, address))
        _note_lock(_trying(key, operator, where), _door(address), at_address)
        raise refuse(key, operator, WRONG + _warning(left), WRONG, where)
    _forgive(key, address)
    _admit(operator, where)
    return operator


def sign_in_from(provider: Provider, external_id: str, **where) -> Operator:
    """The operator of whom another system says that it is them (P-2.4); ValidationError says why not.

    Nobody gets an account or a right that way: it only stands in for the password.
    """
    operator = _known_by(provider, external_id)
    if operator is None and provider.kind == Provider.WECHAT:
        refusal = "这个微信还没有绑定账号。请用登录名和口令登录，再在“账号与安全”中绑定"
        raise refuse(str(provider), None, refusal, "没有绑定的账号", where)
    if operator is None:
        key = f"{provider}：{external_id}"[:80]
        refusal = f"您在“{provider}”的编号还没有对应到本平台的账号，请联系管理员"
        raise refuse(key, None, refusal, "没有对应的账号", where)
    _admit(operator, where, reason=str(provider))
    return operator


def _known_by(provider, external_id):
    """The operator with the external id, or who has bound it to the own account."""
    known = Operator.objects.select_related("organisation", "factor")
    if provider.kind == Provider.WECHAT:
        return known.filter(bindings__provider=provider, bindings__subject=external_id).first()
    if not external_id or not external_id.isprintable():
        return None
    return known.filter(external_id=external_id).first()


def _admit(operator, where, reason=""):
    """Let in who has proved who they are, unless the account says no or a second factor is due."""
    key, address = operator.login_key, where["address"]
    if not operator.is_active:
        raise refuse(key, operator, "账号已停用或已到期，请联系管理员", "账号停用或到期", where)
    if not may_come_from(operator, address):
        refusal = "这个账号不能从您所在的网络登录，请在规定的网络内登录，或联系安全管理员"
        raise refuse(key, operator, refusal, "网络不允许", where)
    if is_unused(operator):
        Operator.objects.filter(pk=operator.pk).update(enabled=False, disabled_for=UNUSED)
        raise refuse(key, operator, "账号长期未使用，已停用，请联系管理员重新启用", UNUSED, where)
    if not operator.second_factor_since:
        _enter(operator, where, reason)


def may_come_from(operator: Operator, address: str) -> bool:
    """Whether the account and all its roles let it in from there (SEC-19)."""
    lists = [operator.networks, *(role["networks"] for role in operator.held_roles)]
    return all(is_inside(address, networks) for networks in lists if networks)


def is_unused(operator: Operator) -> bool:
    """Whether nobody has signed in with the account for so long that it is disabled (SEC-5)."""
    last = max(operator.enabled_at, operator.last_login or operator.enabled_at)
    return timezone.now() - last > timedelta(days=parameters.UNUSED.value())


def asks_captcha(login: str, address: str) -> bool:
    """Whether who signs in with this name, known or not, from there answers a question first (P-2.1)."""
    since, allowed = time.time() - 60 * parameters.WINDOW.value(), parameters.CAPTCHA.value()
    guards = Guard.objects.filter(key__in=[f"name {login_key(login)[:40]}", _door(address)])
    return allowed == 0 or any(
        sum(at > since for at, _ in guard.tries) >= allowed
        or (guard.locked_until and guard.locked_until.timestamp() > since)
        for guard in guards
    )


def give_code(operator: Operator, code: str, **where):
    """Take the second factor of an operator who gave the password; ValidationError says why not.

    Wrong codes are counted apart from wrong passwords, which a right password forgives.
    """
    key = operator.login_key
    _refuse_if_locked(key, operator, where)
    left = _count(f"code {key}", key)
    kind = factors.accept(operator, code)
    if not kind:
        _note_lock(_trying(key, operator, where), f"code {key}", left)
        raise refuse(key, operator, WRONG_CODE + _warning(left), WRONG_CODE, where)
    Guard.objects.filter(key=f"code {key}").delete()
    _enter(operator, where, reason=kind)


@transaction.atomic
def _enter(operator, where, reason=""):
    """Log that somebody is in."""
    SignIn.objects.create(
        login=operator.login_key,
        operator=operator,
        address=where["address"],
        device=where["device"],
        succeeded=True,
        reason=reason,
    )
    detail = {}
    if parameters.ONE_SESSION.value():
        ended, _ = Session.objects.filter(operator=operator).delete()
        detail = {"退出原来的登录": ended}
    actor = actor_for(operator, **where)
    audit.record(actor, "登录", operator, resource="operators", reason=reason, **detail)
    Guard.objects.filter(updated_at__lt=timezone.now() - timedelta(days=2)).delete()


def _refuse_if_locked(key, operator, where):
    until = _locked_until(f"name {key}", f"code {key}")
    at_address = _locked_until(_door(where["address"]))
    if at_address and not _is_at_home(key, where["address"]):
        until = max(until or at_address, at_address)
    if until:
        refusal = f"输错次数过多，已锁定。请在 {timezone.localtime(until):%H:%M} 以后再试，或请管理员解锁"
        raise refuse(key, operator, refusal, "锁定中", where, code=LOCKED)


def _door(address):
    """What tries from an address are counted by: of IPv6 the network of one subscriber has one door."""
    return f"address {origin_of(address)}"


def _is_at_home(key, address):
    """Whether this name has signed in from this address lately.

    An office shares one address, and SEC-2 wants it locked after a few bad tries. That locks strangers out:
    names at home there are judged by their own lock alone, so that one's slips keep no colleague from work.
    """
    since = timezone.now() - timedelta(days=parameters.HOME.value())
    homes = SignIn.objects.filter(login=key, succeeded=True, at__gt=since).values_list("address", flat=True)
    return origin_of(address) in map(origin_of, homes.distinct())


def _warning(left):
    return f"，再输错 {left} 次将锁定" if left else f"，已锁定 {parameters.LOCK.value()} 分钟"


@transaction.atomic
def refuse(key, operator, refusal, reason, where, code=None):
    """Log a try that failed; returns the refusal to raise."""
    SignIn.objects.create(
        login=key,
        operator=operator,
        address=where["address"],
        device=where["device"],
        succeeded=False,
        reason=reason,
    )
    actor = _trying(key, operator, where)
    audit.record(actor, "登录", resource="operators", label=key, result="拒绝", reason=reason)
    return ValidationError(refusal, code=code)


def _trying(key, operator, where) -> Actor:
    """Who tries to get in, as the log names them."""
    return Actor(
        name=operator.name if operator else "",
        operator_id=operator.pk if operator else None,
        login=key,
        organisation=operator.organisation.name if operator else "",
        **where,
    )


def _note_lock(actor, key, left):
    """Log that the last of the tries allowed was a wrong one, and so locked a name or an address (SEC-8)."""
    if not left:
        audit.record(actor, "锁定", resource="locks", label=str(Guard(key=key)))


def _locked_until(*keys):
    """When the last lock on one of the keys ends; None if none is locked."""
    locks = Guard.objects.filter(key__in=keys, locked_until__gt=timezone.now())
    return max(locks.values_list("locked_until", flat=True), default=None)


@transaction.atomic
def _count(key, login, *, once=False) -> int:
    """Count one bad try on `key` and lock it when there are too many; returns how many are left.

    `once`: what `login` has tried before counts with it as one.
    """
    Guard.objects.bulk_create([Guard(key=key)], ignore_conflicts=True)
    guard = Guard.objects.select_for_update().get(key=key)
    now = time.time()
    since = now - 60 * parameters.WINDOW.value()
    guard.tries = [[at, name] for at, name in guard.tries if at > since and not (once and name == login)]
    guard.tries.append([now, login])
    allowed = parameters.ADDRESS_TRIES if key.startswith("address ") else parameters.TRIES
    left = allowed.value() - len(guard.tries)
    if left <= 0:
        guard.locked_until = timezone.now() + timedelta(minutes=parameters.LOCK.value())
        guard.tries = []
    guard.save()
    return max(left, 0)


@transaction.atomic
def _forgive(login, address):
    """Who finds the right password in the end was no stranger: what went before counts no more."""
    Guard.objects.filter(key=f"name {login}").delete()
    for guard in Guard.objects.select_for_update().filter(key=_door(address)):
        guard.tries = [[at, name] for at, name in guard.tries if name != login]
        guard.save()


@transaction.atomic
def lift(actor: Actor, guard: Guard):
    """Forget the bad tries with a name or from an address before their time (SEC-2)."""
    if not Guard.objects.filter(pk=guard.pk, locked_until__gt=timezone.now()).delete()[0]:
        raise ValidationError(f"“{guard}”已经不再锁定")
    audit.record(actor, "解锁", resource="locks", label=str(guard))


def unlock(operator: Operator) -> bool:
    """Forget the bad tries with the operator's name; False if there were none."""
    keys = [f"{what} {operator.login_key}" for what in ("name", "code")]
    return Guard.objects.filter(key__in=keys).delete()[0] > 0


def end_session(actor: Actor, session: Session, *, reason):
    """Sign somebody out: their next request leads to the sign-in page (P-2.1)."""
    if session.operator_id == actor.operator_id:
        raise ValidationError("自己的登录请在“账号与安全”页面结束")
    _end(actor, Session.objects.filter(pk=session.pk), session.operator, "强制退出", reason)


def end_own_sessions(actor: Actor, operator: Operator, sessions):
    """End some of one's own sessions."""
    _end(actor, sessions.filter(operator=operator), operator, "结束登录", "本人操作")


@transaction.atomic
def _end(actor, sessions, operator, act, reason):
    ended = [[session.address, session.device] for session in sessions.select_for_update()]
    if not ended:
        raise ValidationError("这个登录已经结束")
    sessions.delete()
    audit.record(actor, act, operator, resource="sessions", reason=reason, 地址和设备=ended)


def sign_out(actor: Actor):
    """Log that the operator signs out."""
    audit.record(actor, "退出", resource="operators", label=actor.login)


def change_own_password(actor: Actor, operator: Operator, *, old: str, new: str):
    """Change one's own password; ValidationError, by field, for a wrong old or a weak new one."""
    require_own_password(actor, operator, old, field="old", act="改密")
    if new == old:
        raise ValidationError({"new": "新口令不能与原口令相同"})
    try:
        passwords.require_good_password(operator, new)
    except ValidationError as error:
        raise ValidationError({"new": error.messages}) from error
    with transaction.atomic():
        passwords.set_password(operator, new, must_change=False)
        audit.record(actor, "改密", operator, resource="operators")


def require_own_password(actor: Actor, operator: Operator, password: str, *, field: str, act: str):
    """ValidationError, by the form's field, unless it is one's own password; wrong ones are counted.

    `act` is what the password is asked for, as the log names it.
    """
    key = f"name {operator.login_key}"
    until = _locked_until(key)
    if until:
        raise ValidationError({field: f"输错次数过多，请在 {timezone.localtime(until):%H:%M} 以后再试"})
    left = _count(key, operator.login_key)
    if not operator.check_password(password):
        _note_lock(actor, key, left)
        audit.record(actor, act, operator, resource="operators", result="拒绝", reason="原口令不正确")
        raise ValidationError({field: "原口令不正确"})
    unlock(operator)


def require_own_code(actor: Actor, operator: Operator, code: str) -> str:
    """Use up a code of the operator's own second factor; which kind it was, for the log.

    ValidationError for another code; wrong ones are counted.
    """
    key = f"code {operator.login_key}"
    until = _locked_until(key)
    if until:
        raise ValidationError({"code": f"输错次数过多，请在 {timezone.localtime(until):%H:%M} 以后再试"})
    left = _count(key, operator.login_key)
    kind = factors.accept(operator, code)
    if not kind:
        _note_lock(actor, key, left)
        audit.record(actor, "核对动态口令", operator, resource="operators", result="拒绝", reason=WRONG_CODE)
        raise ValidationError({"code": WRONG_CODE})
    Guard.objects.filter(key=key).delete()
    return kind


def session_is_over(begun: float, seen: float) -> bool:
    """Whether a session of these times (seconds since 1970) has been idle or has lasted too long (SEC-3)."""
    now = time.time()
    return now - seen > 60 * parameters.IDLE.value() or now - begun > 3600 * parameters.LONGEST.value()


def online() -> Q:
    """Condition for the sessions that are open now: signed in, neither idle nor old (SEC-3)."""
    now = timezone.now()
    return Q(
        operator__isnull=False,
        expire_date__gt=now,
        seen_at__gt=now - timedelta(minutes=parameters.IDLE.value()),
        begun_at__gt=now - timedelta(hours=parameters.LONGEST.value()),
    )

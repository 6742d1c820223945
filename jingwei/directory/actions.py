"""What changes the directory: organisations, accounts, appointments, roles (P-1)."""

from datetime import timedelta

from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Greatest, Now
from django.utils import timezone

from jingwei.base import audit
from jingwei.base.access import Actor
from jingwei.base.saving import delete_record, save_record
from jingwei.base.wall import beyond_scope
from jingwei.directory import captchas, factors, parameters, passwords, rules, signing_in
from jingwei.directory.models import (
    Appointment,
    Operator,
    Organisation,
    Registration,
    RetiredLogin,
    Role,
    Session,
    end_of_account,
    login_key,
)
from jingwei.directory.oa_actions import keep_to_owned
from jingwei.kit.networks import is_inside


def _switch(actor, model, row, *, enabled, resource, reason="", **more):
    """Enable or disable one row; a page offers only what changes something, so asking in vain is refused."""
    locked = model.objects.select_for_update(of=("self",)).get(pk=row.pk)
    if locked.enabled == enabled:
        raise ValidationError(f"“{locked}”已经{'启用' if enabled else '停用'}")
    act = "启用" if enabled else "停用"
    values = {"enabled": enabled, **more}
    return save_record(actor, locked, resource=resource, values=values, act=act, reason=reason)


# --- organisations


def save_organisation(actor, organisation: Organisation, *, values, version=None):
    """Add or change an organisation; what the OA owns of it is changed there (KP-8.3)."""
    keep_to_owned(organisation, values)
    return save_record(actor, organisation, resource="organisations", values=values, version=version)


@transaction.atomic
def enable_organisation(actor, organisation: Organisation):
    """Let an organisation work again."""
    _switch(actor, Organisation, organisation, enabled=True, resource="organisations")


@transaction.atomic
def disable_organisation(actor, organisation: Organisation, *, reason):
    """Stop an organisation: its operators are out at their next request; nothing is deleted (P-1.2)."""
    if organisation.pk == actor.organisation_id:
        raise ValidationError("不能停用自己所在的单位")
    _switch(actor, Organisation, organisation, enabled=False, resource="organisations", reason=reason)


# --- accounts


@transaction.atomic
def save_operator(actor, operator: Operator, *, values, version=None):
    """Add or change an account. A new one has no password until a reset, no rights until an appointment."""
    adding, ended, known_as = operator._state.adding, operator.ends_on, operator.external_id
    if adding:
        operator.set_unusable_password()
    else:
        _require_above(actor, operator)
        keep_to_owned(operator, values)
        _stay_inside(actor, operator, values)
    saved = save_record(actor, operator, resource="operators", values=values, version=version)
    if not adding and saved.ends_on > ended:
        _require_renewer(actor, saved)
    if saved.external_id not in ("", known_as) and not actor.may("operators.reset"):
        # It stands in for the password: who gives it could sign in as somebody else.
        raise ValidationError({"external_id": "外部编号可用来登录，由安全管理员填写"})
    return saved


def _require_renewer(actor, operator):
    """An account is given more time by who looks after all accounts, and never by its own holder (SEC-5)."""
    if operator.pk == actor.operator_id:
        raise ValidationError("不能延长自己账号的有效期，请由另一位安全管理员办理")
    if not actor.may("operators.renew"):
        raise ValidationError({"ends_on": "有效期由安全管理员延长"})


@transaction.atomic
def renew_operator(actor, operator: Operator, *, reason):
    """Have an account end as late as one that begins today (SEC-5)."""
    _require_renewer(actor, operator)
    locked, until = Operator.objects.select_for_update(of=("self",)).get(pk=operator.pk), end_of_account()
    if locked.ends_on >= until:
        raise ValidationError(f"“{locked}”的有效期到 {locked.ends_on}，现在不需要续期")
    save_record(actor, locked, resource="operators", values={"ends_on": until}, act="续期", reason=reason)


def _stay_inside(actor, operator, values):
    """Nobody shuts the door on themselves."""
    networks = values.get("networks")
    if operator.pk == actor.operator_id and networks and not is_inside(actor.address, networks):
        raise ValidationError({"networks": f"不含您现在所用的地址 {actor.address}，保存后您自己将不能登录"})


def _require_above(actor, operator):
    """An administrator's account is changed by who grants, not by whoever manages the accounts of an area."""
    if actor.may("roles.grant"):
        return
    with beyond_scope():  # wherever the appointment is
        made_by = list(Role.objects.filter(appointment__operator=operator).exclude(administrator=""))
    if made_by:
        raise ValidationError("这是管理员的账号，只有安全管理员可以修改")


@transaction.atomic
def renew_administrator(actor, login, *, reason, anew) -> list[str]:
    """Let an administrator in again whose account has ended or was disabled; what was done, in words.

    With `anew` by a new one-time password, told once, and without the lost device. It is for whoever runs the
    machine, where no security administrator is left; other accounts are theirs to look after.
    """
    administrating = Role.objects.exclude(administrator="")
    known = Operator.objects.filter(login_key=login_key(login), appointments__roles__in=administrating)
    operator = known.first()
    if operator is None:
        raise ValidationError(f"没有登录名为“{login}”的管理员；其他账号由安全管理员在页面上办理")
    told = []
    if operator.ends_on < end_of_account():
        renew_operator(actor, operator, reason=reason)
        told.append(f"有效期延长到 {end_of_account()}")
    if not operator.enabled:
        enable_operator(actor, operator)
        told.append("已启用")
    if anew:
        told.append(reset_password(actor, operator))
        if operator.second_factor_since:
            factors.reset(actor, operator, reason=reason)
            told.append("双因素登录已重置，登录后须重新设置")
    return told or ["账号正在使用，有效期也没有到，没有改动"]


@transaction.atomic
def delete_operator(actor, operator: Operator):
    """Delete an account; its login name is never given again (SEC-1)."""
    if operator.pk == actor.operator_id:
        raise ValidationError("不能删除自己的账号")
    _require_above(actor, operator)
    RetiredLogin.objects.create(login_key=operator.login_key)
    delete_record(actor, operator, resource="operators")


@transaction.atomic
def enable_operator(actor, operator: Operator):
    """Let an account sign in again; the time it was not used starts anew."""
    _require_above(actor, operator)
    more = {"disabled_for": "", "enabled_at": timezone.now()}
    _switch(actor, Operator, operator, enabled=True, resource="operators", **more)


@transaction.atomic
def disable_operator(actor, operator: Operator, *, reason):
    """Stop an account: signed out at its next request (SEC-3)."""
    if operator.pk == actor.operator_id:
        raise ValidationError("不能停用自己的账号")
    _require_above(actor, operator)
    _disable(actor, operator, reason)


def _disable(actor, operator, reason):
    _switch(
        actor, Operator, operator, enabled=False, resource="operators", reason=reason, disabled_for=reason
    )


def close_unused(actor, job, report) -> dict:
    """Kind of job: disable accounts nobody has used for long, clear sessions away that are over (SEC-5)."""
    days = timedelta(days=parameters.UNUSED.value())
    last = Greatest("enabled_at", "last_login")
    idle = Operator.objects.alias(last=last).filter(enabled=True, last__lt=timezone.now() - days)
    unused = list(idle.select_related("organisation"))
    for operator in unused:
        with transaction.atomic():
            _disable(actor, operator, signing_in.UNUSED)
    Session.objects.exclude(signing_in.online()).filter(
        Q(operator__isnull=False) | Q(expire_date__lt=Now())
    ).delete()
    return {"message": f"停用长期未登录的账号 {len(unused)} 个"}


@transaction.atomic
def unlock_operator(actor, operator: Operator):
    """Let an account that is locked after bad tries sign in at once (SEC-2)."""
    if not signing_in.unlock(operator):
        raise ValidationError(f"“{operator}”没有被锁定")
    audit.record(actor, "解锁", operator, resource="operators")


@rules.logs_refused_grants("operators")
@transaction.atomic
def reset_password(actor, operator: Operator) -> str:
    """Give an account a new random password, told once and to be changed at the first sign-in (P-1.4).

    What else stood in for the old one goes with it.
    """
    if operator.pk == actor.operator_id:
        raise ValidationError("自己的口令请在“修改口令”页面修改")
    _require_above(actor, operator)
    rules.require_second_person(actor, operator)
    password = passwords.random_password()
    passwords.set_password(
        Operator.objects.select_for_update().get(pk=operator.pk), password, must_change=True
    )
    signing_in.unlock(operator)
    operator.bindings.all().delete()
    audit.record(actor, "重置口令", operator, resource="operators")
    return (
        f"{operator.name}（登录名 {operator.login}）的新口令是 {password}　只显示这一次，首次登录时须修改。"
    )


@transaction.atomic
def reset_second_factor(actor, operator: Operator, *, reason):
    """Take a lost device off an account (SEC-4)."""
    _require_above(actor, operator)
    factors.reset(actor, operator, reason=reason)


# --- accounts asked for


@transaction.atomic
def ask_for_account(registration: Registration, *, password, captcha, origin):
    """Keep a stranger's application for review (P-1.4). `origin`: address, device and request id.

    `captcha` is token and answer of a question.

    Says nothing about which login names exist: that is decided when the application is approved.
    """
    allowed = parameters.REGISTRATIONS.value()
    today = Registration.objects.filter(
        address=origin["address"], created_at__date=timezone.localdate()
    ).count()
    if today >= allowed:
        raise ValidationError("今天从这个地址提交的申请太多，请明天再试，或到所属村社区办理")
    if not captchas.take(*captcha):
        raise ValidationError({"captcha": captchas.WRONG})
    applicant = Operator(
        login=registration.login,
        login_key=login_key(registration.login),
        name=registration.name,
        phone=registration.phone,
    )
    try:
        passwords.require_good_password(applicant, password)
    except ValidationError as error:
        raise ValidationError({"password": error.messages}) from error
    registration.password = make_password(password)
    registration.address = origin["address"]
    registration.full_clean()
    registration.save(force_insert=True)
    stranger = Actor(name=registration.name, organisation=registration.organisation.name, **origin)
    audit.record(stranger, "申请账号", registration, resource="registrations")


def _decide(actor, registration, state, opinion):
    """Lock an application that waits and write the decision."""
    locked = Registration.objects.select_for_update(of=("self",)).get(pk=registration.pk)
    if not locked.is_waiting:
        raise ValidationError(f"“{locked}”{locked.state}，不能再次审核")
    locked.state, locked.opinion = state, opinion
    locked.decided_by, locked.decided_at = actor.name, timezone.now()
    locked.version += 1
    locked.save()
    act = "审核通过" if state == Registration.APPROVED else "审核不通过"
    audit.record(actor, act, locked, resource="registrations", reason=opinion)
    return locked


@rules.logs_refused_grants("registrations")
@transaction.atomic
def approve_registration(actor, registration: Registration, *, login=""):
    """Open the account that was asked for. It can do nothing until it is appointed (SEC-5)."""
    rules.require_reviewer(actor, registration)
    decided = _decide(actor, registration, Registration.APPROVED, "")
    operator = Operator(
        login=login or decided.login,
        name=decided.name,
        phone=decided.phone.clear(),
        organisation=decided.organisation,
        password=decided.password,
        password_at=decided.created_at,
        must_change_password=False,  # chosen by its owner then
    )  # entered by the applicant, so that who approves is the second person already
    operator.full_clean()
    operator.save(force_insert=True)
    audit.record(actor, "新增", operator, resource="operators", reason="注册审核通过")


@transaction.atomic
def refuse_registration(actor, registration: Registration, *, opinion):
    """Turn an application down, with the reason."""
    _decide(actor, registration, Registration.REFUSED, opinion)


# --- appointments and roles


@rules.logs_refused_grants("appointments")
@transaction.atomic
def save_appointment(actor, appointment: Appointment, *, values, version=None):
    """Give or change an appointment, within what the actor may grant (P-1.5, P-1.8)."""
    before = [] if appointment._state.adding else [*appointment.roles.all()]
    operator = None if appointment._state.adding else appointment.operator
    with rules.one_administrator_per_account():
        saved = save_record(actor, appointment, resource="appointments", values=values, version=version)
    if operator and saved.operator_id != operator.pk:
        raise ValidationError({"operator": "任职不能转给他人，请结束这个任职，再为他人新增"})
    if saved.post and saved.post.department.organisation_id != saved.organisation_id:
        raise ValidationError({"post": f"职务“{saved.post}”不属于{saved.organisation}"})
    rules.require_grantable(actor, saved, [*saved.roles.all(), *before])
    rules.require_second_person(actor, saved.operator)
    return saved


@rules.logs_refused_grants("appointments")
@transaction.atomic
def delete_appointment(actor, appointment: Appointment):
    """Take an appointment back."""
    rules.require_grantable(actor, appointment, appointment.roles.all())
    delete_record(actor, appointment, resource="appointments")


@rules.logs_refused_grants("roles")
@transaction.atomic
def save_role(actor, role: Role, *, values, version=None):
    """Add or change a role; whoever holds it must not gain more than the actor may grant (P-1.5)."""
    before = Role(reach=role.reach, permissions=list(role.permissions))
    where_before = ([], []) if role._state.adding else ([*role.regions.all()], [*role.organisations.all()])
    values = dict(values)
    if "permissions" in values:
        values["administrator"] = rules.administrator_kind(values["permissions"])
    with rules.one_administrator_per_account():
        saved = save_record(actor, role, resource="roles", values=values, version=version)
    rules.require_role_grantable(actor, saved, before, where_before)
    return saved


@rules.logs_refused_grants("roles")
@transaction.atomic
def copy_role(actor, role: Role, *, name) -> Role:
    """A new role of another name with everything `role` has; nobody holds it yet (P-1.5)."""
    copied = ("permissions", "reach", "second_factor", "networks", "note")
    values = {field: getattr(role, field) for field in copied}
    values |= {"name": name, "regions": role.regions.all(), "organisations": role.organisations.all()}
    return save_role(actor, Role(), values=values)


@transaction.atomic
def delete_role(actor, role: Role):
    """Delete a role nobody holds."""
    with beyond_scope():  # wherever they are
        holders = Operator.objects.filter(appointments__roles=role).distinct().count()
    if holders:
        raise ValidationError(
            f"角色“{role}”还有 {holders} 个账号在使用，不能删除。请先改他们的任职，或停用这个角色。"
        )
    delete_record(actor, role, resource="roles")

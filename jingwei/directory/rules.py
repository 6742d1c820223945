"""Who may grant what, and how the three administrators exclude each other (P-1.5, P-1.8, SEC-6)."""

from collections.abc import Iterable
from contextlib import contextmanager
from functools import wraps

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from jingwei.base import audit
from jingwei.base.wall import beyond_scope
from jingwei.directory.actors import actor_for, data_scope_of
from jingwei.directory.models import Appointment, Operator, Registration, Role

SYSTEM, SECURITY, AUDIT = "系统管理员", "安全管理员", "审计管理员"

# The resources each of the three administrators is for.
ADMINISTRATORS = {
    SYSTEM: {
        "regions",
        "region-changes",
        "organisations",
        "departments",
        "posts",
        "codes",
        "parameters",
        "menus",
        "menu-grants",
        "front-sources",
        "oa",
        "errors",
        "jobs",
    },
    SECURITY: {
        "operators",
        "appointments",
        "roles",
        "registrations",
        "sessions",
        "locks",
        "providers",
        "emergency-reviews",
        "cryptography",
    },
    AUDIT: {"alarms", "logs", "signins"},
}
# What both the security and the audit administrator watch over; it makes a role neither's.
SHARED = {"personal-data", "retention", "erasures"}
# What other roles may hold of them as well; everything else makes the role an administrator's.
ORDINARY = {
    "regions": {"view", "export"},
    "region-changes": {"view", "export"},
    "codes": {"view", "export"},
    "organisations": {"view", "export"},
    "departments": {"view", "add", "change", "delete", "export"},
    "posts": {"view", "add", "change", "delete", "export"},
    "operators": {"view", "add", "change", "import", "export"},
    "registrations": {"view", "approve", "refuse", "clear"},
}
LOOK_UP = {"regions", "organisations", "departments", "posts"}
APPROVE = "registrations.approve"


class NotGrantable(ValidationError):
    """A grant beyond what who grants may give: no slip in a form, but an event for the log (SEC-8)."""


def logs_refused_grants(resource: str):
    """Decorator of an action (actor, row, …) that grants: what the rules refuse stays in the log.

    It stands outside of the action's transaction.
    """

    def decorate(action):
        @wraps(action)
        def logging(actor, row, **asked):
            known = None if row._state.adding else row
            try:
                return action(actor, row, **asked)
            except NotGrantable as refusal:
                reason = "；".join(refusal.messages)
                audit.record(actor, "授权", known, resource=resource, result="拒绝", reason=reason)
                raise

        return logging

    return decorate


def is_business(resource: str) -> bool:
    """Whether a resource holds the business of the five systems, which no administrator sees by that role."""
    return resource not in SHARED and not any(resource in resources for resources in ADMINISTRATORS.values())


def administrator_holds(kind: str, resource: str, action: str) -> bool:
    """Whether the shipped role of an administrator begins with a permission."""
    if resource in SHARED:
        return kind in (SECURITY, AUDIT)
    return resource in ADMINISTRATORS[kind] or (resource in LOOK_UP and action == "view" and kind == SECURITY)


def administrator_kind(permissions) -> str:
    """Which of the three administrators a role with these permissions makes, "" for none.

    ValidationError if it would be two of them, or an administrator who sees business data.
    """
    pairs = [permission.split(".") for permission in permissions]
    kinds = [
        kind
        for kind, resources in ADMINISTRATORS.items()
        if any(
            resource in resources and action not in ORDINARY.get(resource, ()) for resource, action in pairs
        )
    ]
    if len(kinds) > 1:
        raise NotGrantable(f"三员分立：一个角色不能同时有{'与'.join(kinds)}的权限，请分成不同的角色")
    if kinds and any(is_business(resource) for resource, _ in pairs):
        raise NotGrantable(f"三员分立：{kinds[0]}的角色不能含业务数据的权限，请分成不同的角色")
    return kinds[0] if kinds else ""


def require_grantable(actor, appointment: Appointment, roles: Iterable[Role]):
    """Refuse to give or take these roles in `appointment` beyond what `actor` may grant.

    Nobody grants to themselves. Who holds ``roles.grant`` (the security administrator) may grant the rest;
    everybody else only what they hold, and only for rows within their own scope (P-1.5).
    """
    if appointment.operator_id == actor.operator_id:
        raise NotGrantable("不能修改自己的任职和角色，请由另一位管理员办理")
    if not actor.may("roles.grant"):
        for role in roles:
            _require_covered(actor, role.permissions, _scope(role, appointment))


def require_second_person(actor, operator: Operator):
    """Refuse to bring an account to life to who entered it: that takes two (SEC-6).

    Until somebody has signed in with it, another one gives it its roles and its password.
    """
    if operator.last_login is None and operator.created_by == actor.operator_id is not None:
        raise NotGrantable("这个账号是您本人新建的，首次启用须由另一位管理员任职授权、重置口令")


@beyond_scope()
def require_reviewer(actor, registration: Registration):
    """Refuse to approve an application to who could appoint its account, too, while others could approve it.

    Who applies may be anybody, also who approves; an account takes two (SEC-6). At the beginning nobody else
    is there.
    """
    if not actor.may("appointments.add"):
        return
    reviewers = Operator.objects.filter(appointments__roles__permissions__contains=[APPROVE]).distinct()
    held = [(o, a.pk) for o in reviewers.select_related("organisation") for a in o.appointments_in_force]
    for other in (actor_for(operator, appointment) for operator, appointment in held):
        in_reach = Registration.objects.visible_to(other, APPROVE).filter(pk=registration.pk)
        if not other.may("appointments.add") and in_reach.exists():
            raise NotGrantable(f"您可以任职授权，须由另一人审核，如{other.organisation}的{other.name}")


def require_role_grantable(actor, role: Role, before: Role, where_before):
    """Refuse a change of a role that gives any of its holders more than `actor` may grant (P-1.5).

    `before` and `where_before` (regions, organisations) are what the role was.
    """
    with beyond_scope():  # wherever they are
        holders = list(Appointment.objects.filter(roles=role).select_related("organisation"))
    if any(holder.operator_id == actor.operator_id for holder in holders):
        raise NotGrantable("不能修改自己持有的角色，请由另一位管理员办理")
    if actor.may("roles.grant"):
        return
    own = Appointment(organisation_id=actor.organisation_id, operator_id=actor.operator_id)
    for appointment in [own, *holders]:
        _require_covered(actor, role.permissions, _scope(role, appointment))
        _require_covered(actor, before.permissions, _scope(before, appointment, *where_before))


def _scope(role, appointment, regions=None, organisations=None):
    return data_scope_of(
        appointment,
        reach=role.reach,
        regions=[region.code for region in (role.regions.all() if regions is None else regions)],
        organisations=[
            o.path for o in (role.organisations.all() if organisations is None else organisations)
        ],
    )


def _require_covered(actor, permissions, scope):
    lacking = [permission for permission in permissions if not actor.data_scope(permission).covers(scope)]
    if lacking:
        raise NotGrantable(f"不能授予自己没有的权限，或超出自己数据范围的权限：{'、'.join(lacking[:5])}")


@contextmanager
def one_administrator_per_account():
    """Say in words that the database refused an account that would be two administrators (SEC-6)."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        if error.__cause__.diag.constraint_name != "one_administrator_per_account":
            raise
        raise NotGrantable(f"三员分立：一个账号只能是{'、'.join(ADMINISTRATORS)}中的一种") from error

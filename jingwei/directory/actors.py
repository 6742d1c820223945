"""From a signed-in operator to an actor: permissions, each with the data scope it is granted for (P-1.6).

Everything is read anew at each request, so a right taken away bites at the next one; it is read in one query.
"""

from functools import reduce
from operator import or_

from django.core.exceptions import ValidationError

from jingwei.base.access import EVERYTHING, NO_SCOPE, NOBODY, Actor, DataScope
from jingwei.directory.models import Appointment, Operator, Role, login_key


def actor_for(operator: Operator | None, appointment_id=None, **request) -> Actor:
    """The actor of `operator` in the appointment chosen, or in the oldest in force.

    An account that may not sign in, or has no appointment, can do nothing. `request` gives address, device
    and request_id for the log.
    """
    if operator is None or not operator.is_active:
        return NOBODY
    held = operator.appointments_in_force
    appointment = next((a for a in held if a.pk == appointment_id), held[0] if held else None)
    who = {"name": operator.name, "operator_id": operator.pk, "login": operator.login, **request}
    if appointment is None:
        return Actor(organisation=operator.organisation.name, organisation_id=operator.organisation_id, **who)
    return Actor(
        appointment_id=appointment.pk,
        organisation_id=appointment.organisation_id,
        organisation=appointment.organisation.name,
        region=appointment.organisation.region_id,
        grants=grants_of(appointment),
        business=business_of(appointment),
        hidden_menus=hidden_menus(appointment),
        **who,
    )


def actor_of_job(operator_id, appointment_id, **request) -> Actor:
    """The actor a background job works for, with the rights of now, not of when it was asked.

    `request` tells for the log where it was asked from.
    """
    operator = Operator.objects.select_related("organisation").filter(pk=operator_id).first()
    actor = actor_for(operator, appointment_id, **request)
    return actor if actor.appointment_id == appointment_id else NOBODY


def grants_of(appointment: Appointment) -> dict[str, DataScope]:
    """{permission: data scope}; two roles with the same permission widen its scope, never another's."""
    grants: dict[str, DataScope] = {}
    for role in appointment.held_roles:
        reach = _reach_of(appointment, role)
        for permission in role["permissions"]:
            grants[permission] = grants.get(permission, NO_SCOPE) | reach
    return grants


def business_of(appointment: Appointment) -> DataScope:
    """What the appointment reaches of people and places, by whatever role but an administrator's (P-1.8)."""
    roles = [role for role in appointment.held_roles if not role["administrator"]]
    return reduce(or_, (_reach_of(appointment, role) for role in roles), NO_SCOPE)


def _reach_of(appointment, role):
    return data_scope_of(appointment, **{name: role[name] for name in ("reach", "regions", "organisations")})


def data_scope_of(appointment: Appointment, *, reach, regions, organisations) -> DataScope:
    """What a role's data scope means for one appointment. `regions` are codes, `organisations` tree paths."""
    organisation = appointment.organisation
    match reach:
        case Role.EVERYTHING:
            return EVERYTHING
        case Role.REGION:
            return DataScope(regions=frozenset([organisation.region_id]))
        case Role.BELOW:
            return DataScope(organisations=frozenset([organisation.path]))
        case Role.ORGANISATION:
            return DataScope(organisations_alone=frozenset([organisation.path]))
        case Role.OWN:
            return DataScope(owner=appointment.operator_id)
        case Role.LISTED:
            return DataScope(regions=frozenset(regions), organisations=frozenset(organisations))


def hidden_menus(appointment: Appointment) -> frozenset[str]:
    """Menu keys withheld from the operator: hidden for all unless allowed to this person (P-1.7)."""
    hidden = set(appointment.hidden)
    for grant in appointment.granted:
        (hidden.discard if grant["allowed"] else hidden.add)(grant["key"])
    return frozenset(hidden)


def actor_of_login(login, **request) -> Actor:
    """The actor whom the command line acts for; ValidationError where that account may not sign in."""
    operator = Operator.objects.select_related("organisation").filter(login_key=login_key(login)).first()
    if operator is None:
        raise ValidationError(f"没有登录名为“{login}”的账号")
    if not operator.is_active:
        raise ValidationError(f"账号“{login}”已停用或已过有效期")
    return actor_for(operator, **request)

"""From a signed-in operator to an actor: permissions, each with the data scope it is granted for (P-1.6)."""

from django.utils import timezone

from jingwei.base.access import EVERYTHING, NOBODY, NO_SCOPE, Actor, DataScope
from jingwei.directory.models import Appointment, MenuGrant, MenuSetting, Operator, Role


def appointments_of(operator: Operator):
    """Appointments in force today, the oldest first."""
    return (
        operator.appointments.filter(Appointment.in_force(timezone.localdate()))
        .select_related("organisation__region", "post")
        .order_by("id")
    )


def actor_for(operator: Operator | None, appointment_id=None, **request) -> Actor:
    """The actor of `operator` in the appointment chosen, or in the oldest in force.

    An account that may not sign in, or has no appointment, can do nothing. `request` gives address, device
    and request_id for the log.
    """
    if operator is None or not operator.is_active:
        return NOBODY
    held = list(appointments_of(operator).prefetch_related("roles__regions", "roles__organisations"))
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
        hidden_menus=hidden_menus(operator),
        **who,
    )


def actor_of_job(operator_id, appointment_id) -> Actor:
    """The actor a background job works for, with the rights of now, not of when it was asked."""
    operator = Operator.objects.select_related("organisation").filter(pk=operator_id).first()
    actor = actor_for(operator, appointment_id)
    return actor if actor.appointment_id == appointment_id else NOBODY


def grants_of(appointment: Appointment) -> dict[str, DataScope]:
    """{permission: data scope}; two roles with the same permission widen its scope, never another's."""
    grants: dict[str, DataScope] = {}
    for role in appointment.roles.all():
        if role.enabled:
            reach = data_scope_of(role, appointment)
            for permission in role.permissions:
                grants[permission] = grants.get(permission, NO_SCOPE) | reach
    return grants


def data_scope_of(role: Role, appointment: Appointment) -> DataScope:
    """What the role's data scope means for one appointment."""
    organisation = appointment.organisation
    match role.reach:
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
            return DataScope(
                regions=frozenset(region.code for region in role.regions.all()),
                organisations=frozenset(o.path for o in role.organisations.all()),
            )


def hidden_menus(operator: Operator) -> frozenset[str]:
    """Menu keys withheld from the operator: hidden for all unless allowed to this person (P-1.7)."""
    hidden = set(MenuSetting.objects.filter(hidden=True).values_list("key", flat=True))
    for key, allowed in MenuGrant.objects.filter(operator=operator).values_list("key", "allowed"):
        (hidden.discard if allowed else hidden.add)(key)
    return frozenset(hidden)

"""Who a group sending goes to, and other reads of the messages with a business name."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.utils import timezone

from jingwei.base.fields import bulk_reveal
from jingwei.directory.models import Appointment, Operator

SEND = "sms-send.send"  # the permission to send; its data scope says whose operators a group may be


@dataclass(frozen=True)
class Receiver:
    """Somebody to send to. `number` as it stands in the register; `values` are parameters of their own."""

    number: str
    name: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


def operators_to_reach(actor, *, organisation=None, role=None) -> list[Receiver]:
    """Operators `actor` may reach with an appointment in force at `organisation` or below, or in `role`.

    Those without a telephone number are in the list too, so that they can be counted.
    """
    day = timezone.localdate()
    held = Appointment.objects.filter(Appointment.in_force(day), operator__enabled=True)
    if organisation is not None:
        held = held.filter(organisation__path__startswith=organisation.path)
    if role is not None:
        held = held.filter(roles=role)
    reached = Operator.objects.visible_to(actor, SEND).filter(pk__in=held.values("operator")).order_by("pk")
    operators = [operator for operator in reached.select_related("organisation") if operator.is_active]
    bulk_reveal(operators, ["phone"])
    return [Receiver(o.phone.clear() if o.phone else "", o.name) for o in operators]

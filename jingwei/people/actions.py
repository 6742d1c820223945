"""What changes the register: adding and changing a person, moving, doses (CL-3)."""

import pghistory
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone
from procrastinate.tasks import configure_task

from jingwei.base import audit
from jingwei.base.saving import delete_record, save_record
from jingwei.base.wall import beyond_scope
from jingwei.desk import jobs
from jingwei.people.models import Dose, Person, Transfer
from jingwei.people.queries import holder_of
from jingwei.people.unregistered import let_wait_again, take_in

# The task of the package that keeps the samples. It stands right of this one, so it is called by name.
ROLL_UP_SAMPLES = "testing.roll_up"


class Registered(ValidationError):
    """Somebody else is registered with the same document (CL-3.5). `person` is who."""

    def __init__(self, person):
        super().__init__({"number": "该证件号已登记，不能重复登记"})
        self.person = person


@transaction.atomic
def save_person(actor, person, *, values, version=None):
    """Register a person or change one; a changed community is a move and leaves a transfer (CL-3.7)."""
    origin = person.region_id if person.pk else None
    known_as = person.number
    doc_type, number = values.get("doc_type", person.doc_type), values.get("number", person.number)
    if (known := holder_of(doc_type, number)) and known != person:
        raise Registered(known)
    save_record(actor, person, resource="people", values=values, version=version)
    if origin and person.region_id != origin:
        note_transfers(actor, [(person.pk, origin, person.region_id)], reason="修改登记信息")
    if person.number != known_as:
        find_what_came_before([person.pk])
    return person


def find_what_came_before(people):
    """Give the people with these ids, who are registered now, the doses and samples of before (CL-6.5).

    The samples are looked for when the transaction has ended.
    """
    roll_up_doses(take_in(people))
    start_roll_up_of_samples(people)


@transaction.atomic
def delete_person(actor, person):
    """Delete a person; whoever came by a sample or vaccination sheet is in no register again (CL-6.5)."""
    let_wait_again([person.pk])
    delete_record(actor, person, resource="people")


@transaction.atomic
def transfer_person(actor, person, *, to_region, reason=""):
    """Move a person to another community, of one's own or not; the history goes along (CL-3.7)."""
    person = (
        Person.objects.visible_to(actor, "people.transfer").select_for_update(of=("self",)).get(pk=person.pk)
    )
    if len(to_region.code) < 12 or not to_region.enabled:
        raise ValidationError({"to_region": "请选择迁往的村或社区"})
    if to_region.pk == person.region_id:
        raise ValidationError({"to_region": f"{person.name}已经在{to_region.name}"})
    origin = person.region
    person.region = to_region
    person.version += 1
    person.updated_at = timezone.now()
    with beyond_scope(), pghistory.context(name=actor.name):
        person.save(update_fields=["region", "version", "updated_at"])
    note_transfers(actor, [(person.pk, origin.pk, to_region.pk)], reason=reason)
    audit.record(
        actor,
        "迁移",
        person,
        resource="people",
        reason=reason,
        changes={"村/社区": [origin.name, to_region.name]},
    )


def note_transfers(actor, moves, *, reason):
    """Keep who moved: `moves` are (person id, code of the old region, code of the new one)."""
    Transfer.objects.bulk_create(
        Transfer(
            person_id=person,
            from_region_id=origin,
            to_region_id=region,
            by=actor.operator_id,
            by_name=actor.name,
            reason=reason,
        )
        for person, origin, region in moves
    )


@transaction.atomic
def save_dose(actor, dose, *, values, version=None):
    """Correct a dose; the person's latest dose follows (CL-3.3)."""
    save_record(actor, dose, resource="doses", values=values, version=version)
    roll_up_doses([dose.person_id])
    return dose


@transaction.atomic
def vaccinate(actor, person, *, dose, on, vaccine="", unit=""):
    """Record a dose given to a person (CL-3.3)."""
    person = (
        Person.objects.visible_to(actor, "people.vaccinate").select_for_update(of=("self",)).get(pk=person.pk)
    )
    given = Dose(person=person, dose=dose, on=on, vaccine=vaccine, unit=unit, created_by=actor.operator_id)
    given.full_clean()
    given.save()
    roll_up_doses([person.pk])
    audit.record(actor, "登记接种", person, resource="people", dose=dose, on=str(on), unit=unit)


@transaction.atomic
def delete_dose(actor, dose):
    """Take back a dose that was never given."""
    delete_record(actor, dose, resource="doses")
    roll_up_doses([dose.person_id])


# Most rows of a load leave the latest dose as it is: writing a person costs far more than looking.
LATEST_DOSES = """
UPDATE people_person
SET dose = latest.dose, dose_on = latest."on", dose_unit = latest.unit
FROM (
    SELECT DISTINCT ON (asked.id) asked.id, given.dose, given."on", coalesce(given.unit, '') AS unit
    FROM unnest(%s::bigint[]) AS asked(id) LEFT JOIN people_dose AS given ON given.person_id = asked.id
    ORDER BY asked.id, given.dose DESC NULLS LAST
) AS latest
WHERE people_person.id = latest.id
  AND (people_person.dose, people_person.dose_on, people_person.dose_unit)
      IS DISTINCT FROM (latest.dose, latest."on", latest.unit)
"""


def roll_up_doses(people):
    """Set the latest dose, by its number, of the people with these ids (CL-3.3)."""
    with connection.cursor() as cursor:
        cursor.execute(LATEST_DOSES, [list(people)])


def start_roll_up_of_samples(people):
    """Have the latest sample of the people with these ids worked out anew when the transaction has ended."""
    configure_task(name=ROLL_UP_SAMPLES, job_manager=jobs.queue).defer(people=list(people))

"""The page on which two records are compared, side by side, and made one (P-5.7)."""

import copy
from dataclasses import dataclass

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.shortcuts import redirect, render
from django.urls import reverse

from jingwei.base.fields import bulk_reveal, personal_fields
from jingwei.desk.columns import list_column, text
from jingwei.desk.guard import permitted, require, row_or_404
from jingwei.desk.looks import note_look
from jingwei.desk.records import panels_of
from jingwei.kit.text import whole
from jingwei.people import merges
from jingwei.people.duplicates import likeness
from jingwei.people.models import LATEST, Person


@dataclass(frozen=True)
class Line:
    """One thing the records say: what each says, masked as anywhere, and whether they agree."""

    name: str
    label: str
    sides: list[tuple[int, str]]  # (id, text) of each record
    same: bool
    hidden: bool = False  # they differ where the masks are
    stays: int = 0  # id of the record whose value stays


def review(request, resource, pk):
    """Compare the records of a pair, choose what stays, see what will happen, and merge them."""
    require(request, resource, "view")
    pair = row_or_404(request, resource, "view", pk)
    rows = Person.objects.select_related("region__parent").order_by("pk")
    people = list(rows.filter(pk__in=[pair.first_id, pair.second_id]))
    if request.method != "POST":
        note_look(request.actor, resource, pair)
    bulk_reveal(people, [field.name for field in personal_fields(Person)])
    kept, gone, taken = _chosen(request.POST, *people)
    context = {"resource": resource, "pair": pair, "people": people, "kept": kept, "gone": gone}
    if "merge" in request.POST:
        require(request, resource, "merge")
        pair = row_or_404(request, resource, "merge", pk)
        try:
            merges.merge(request.actor, pair, keep=kept.pk, taken=taken, versions=_seen(request.POST))
        except ValidationError as refusal:
            context["refusal"] = refusal.messages[0]
        else:
            messages.success(request, f"已合并到“{kept}”。如有差错，可在“合并记录”中撤销。")
            return redirect(_page_of(request.actor, resource, kept))
    hanging = _hanging(request.actor, resource, people)
    context |= {"hanging": hanging, "lines": _lines(people, gone, taken)}
    if "preview" in request.POST:
        return render(request, "people/merge.html", context | _outcome(kept, gone, taken))
    context |= {
        "may": permitted(request.actor, resource),
        "waits": pair.state == pair.WAITING,
        "latest": _latest(people),
        "following": _following(request.actor, resource, pair),
        "alike": likeness(pair),
    }
    return render(request, "people/review.html", context)


def _following(actor, resource, pair):
    """The pair that waits behind this one in the list."""
    behind = Q(score__lt=pair.score) | Q(score=pair.score, pk__gt=pair.pk)
    return resource.rows(actor).filter(behind, state=pair.WAITING).order_by("-score", "pk").first()


def _chosen(asked, one, other):
    """(the record that stays, the other, names of the choices taken from it): as asked, else as proposed."""
    asked_to_keep = [person for person in (one, other) if str(person.pk) == asked.get("keep")]
    kept = asked_to_keep[0] if asked_to_keep else merges.record_to_keep(one, other)
    gone = other if kept == one else one
    if not asked_to_keep:
        return kept, gone, merges.proposal(kept, gone)
    names = [choice.name for choice in merges.choices()]
    return kept, gone, {name for name in names if asked.get(f"take-{name}") == str(gone.pk)}


def _seen(asked):
    """(id, version) of the records as the page showed them."""
    records, versions = (map(whole, asked.getlist(name)) for name in ("record", "version"))
    return set(zip(records, versions, strict=False))


def _page_of(actor, resource, person):
    """The person's page, or the list of pairs where the operator may not open it."""
    if resource.records.rows(actor).filter(pk=person.pk).exists():
        return reverse("desk:show", args=[resource.records, person.pk])
    return reverse("desk:list", args=[resource])


def _said(person, names):
    """What a record says in these columns, as any page shows it."""
    found = (text(list_column(Person, name).value(person)) for name in names)
    return " ".join(part for part in found if part)


def _lines(people, gone, taken):
    """What is chosen between the records."""
    [kept] = [person for person in people if person != gone]
    lines = []
    for choice in merges.choices():
        same = merges.values_of(people[0], choice) == merges.values_of(people[1], choice)
        sides = [(person.pk, _said(person, choice.fields)) for person in people]
        hidden = not same and sides[0][1] == sides[1][1]
        stays = gone.pk if choice.name in taken else kept.pk
        lines.append(Line(choice.name, choice.label, sides, same, hidden, stays))
    return lines


def _latest(people):
    """What follows from the records' own doses and samples, to compare only."""
    lines = []
    for name in LATEST:
        sides = [(person.pk, _said(person, [name])) for person in people]
        label = list_column(Person, name).heading
        lines.append(Line(name, label, sides, sides[0][1] == sides[1][1]))
    return lines


def _hanging(actor, resource, people):
    """[(label, [count, count])] of what hangs on the records, by the panels of a person's page."""
    found = {}
    for side, person in enumerate(people):
        for panel, other, shown, more in panels_of(actor, resource.records, person):
            if other.name != resource.records.name:
                counted = f"{len(shown.rows)}+" if more else str(len(shown.rows))
                found.setdefault(panel.label, ["0", "0"])[side] = counted
    return [(label, counts) for label, counts in found.items() if counts != ["0", "0"]]


def _outcome(kept, gone, taken):
    """What merging will do: values that change, rows that come along, rows that give way."""
    after = copy.copy(kept)
    merges.take_values(after, gone, taken)
    changes = []
    for choice in merges.choices():
        if merges.values_of(kept, choice) != merges.values_of(after, choice):
            changes.append((choice.label, _said(kept, choice.fields), _said(after, choice.fields)))
    document = ["doc_type", "number"]
    other = gone if _said(after, document) == _said(kept, document) else kept
    return {
        "changes": changes,
        "alias": "" if gone.number == kept.number else _said(other, document),
        "giving_way": merges.giving_way(kept, gone),
        "taken": [(f"take-{name}", gone.pk) for name in taken],
    }

"""Form fields of the directory."""

from django import forms

from jingwei.base import audit
from jingwei.base.resource import ACTION_LABELS, Resource
from jingwei.directory.models import Role

PLAIN = [action for action in ACTION_LABELS if action != "grant"]  # these have a column of the table each


class PermissionTable(forms.Widget):
    """A table of check boxes: resources by system, their plain actions in columns, named actions behind."""

    template_name = "directory/permissions.html"

    def get_context(self, name, value, attrs):
        from jingwei import menu  # it imports every package's faces, this one among them

        chosen = set(value or ())
        systems = [(system.label, list(_lines(system.entries, chosen))) for system in menu.SYSTEMS]
        context = super().get_context(name, value, attrs)
        return context | {"plain": [ACTION_LABELS[action] for action in PLAIN], "systems": systems}

    def value_from_datadict(self, data, files, name):
        return data.getlist(name)

    def value_omitted_from_data(self, data, files, name):
        return False  # no box checked sends nothing


def _lines(entries, chosen):
    """(label, a box or None per plain action, boxes of named ones); a box: (permission, label, checked).

    A line for each resource, then one for all pages that the same permission opens.
    """
    pages = {}
    for entry in entries:
        if not isinstance(entry, Resource):
            pages.setdefault(entry.permission, []).append(entry.label)
            continue
        labels = ACTION_LABELS | {verb.name: verb.label for verb in entry.verbs}
        boxes = {}
        for permission in entry.permissions():
            action = permission.partition(".")[2]
            boxes[action] = (permission, labels[action], permission in chosen)
        yield entry.label, [boxes.pop(action, None) for action in PLAIN], list(boxes.values())
    for permission, labels in pages.items():
        yield "、".join(labels), [None] * len(PLAIN), [(permission, "打开", permission in chosen)]


class RoleBoxes(forms.SelectMultiple):
    """A box for each role, with what it is for."""

    template_name = "directory/roles.html"


class RolesField(forms.ModelMultipleChoiceField):
    """The roles of an appointment, chosen among those in use."""

    widget = RoleBoxes
    is_wide = True

    def __init__(self, **kwargs):
        super().__init__(Role.objects.filter(enabled=True), required=False, **kwargs)

    def label_from_instance(self, role):
        return role


class PermissionsField(forms.Field):
    """The permissions of a role, checked in a table of all there are."""

    widget = PermissionTable
    is_wide = True  # takes the whole width of the form

    def __init__(self, **kwargs):
        super().__init__(required=False, **kwargs)

    def clean(self, value):
        from jingwei import menu

        known = set(menu.permissions())
        return [permission for permission in value if permission in known]


def permission_labels(permissions) -> str:
    """Permissions in words, by resource: 人员信息：查看、导出；操作日志：查看."""
    from jingwei import menu

    words = {}
    for system in menu.SYSTEMS:
        for label, plain, named in _lines(system.entries, set(permissions)):
            held = [box[1] for box in [*plain, *named] if box and box[2]]
            if held:
                words[label] = "、".join(held)
    return "；".join(f"{label}：{held}" for label, held in words.items())


def reason_field():
    """Why something is done, for the log."""
    return forms.CharField(label="事由", max_length=200)


audit.IN_WORDS[Role._meta.get_field("permissions")] = permission_labels

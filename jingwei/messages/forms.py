"""What is entered to send: the parameters of a template and the receivers."""

import re

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from jingwei.base.fields import personal_fields
from jingwei.desk.cells import cells
from jingwei.desk.columns import list_column
from jingwei.desk.forms import dress
from jingwei.desk.saved import query_of_list, saved_queries
from jingwei.directory.models import Organisation, Role
from jingwei.messages.actions import LONGEST_VALUE, mobiles
from jingwei.messages.models import NAME
from jingwei.messages.queries import SEND, Receiver, operators_to_reach

MOST_LINES = 1000
MOST_FOUND = 20_000  # of a saved query: what a request can take


class SendForm(forms.Form):
    """Values for `template` and the receivers, as `actor` enters them.

    Receivers are the numbers written down, the operators of an organisation, of a role or of a role in an
    organisation, and the rows of a saved query, together. After `is_valid()`, `values` and `receivers` hold
    them, and `label` says who they are.
    """

    numbers = forms.CharField(
        label="手机号",
        required=False,
        widget=forms.Textarea({"rows": 4}),
        help_text="每行一个，号码后可写姓名：13800000000 张三",
    )
    organisation = forms.ModelChoiceField(
        Organisation.objects.none(),
        label="单位",
        required=False,
        empty_label="—",
        help_text="该单位及下级单位的操作员",
    )
    role = forms.ModelChoiceField(
        Role.objects.none(),
        label="角色",
        required=False,
        empty_label="—",
        help_text="持有该角色的操作员；同时选了单位的，只发该单位的",
    )
    query = forms.ChoiceField(
        label="已保存的查询", required=False, help_text="在列表中保存的查询，发给查到的每一个人"
    )
    not_before = forms.DateTimeField(
        label="发送时间",
        required=False,
        widget=forms.DateTimeInput({"type": "datetime-local"}),
        help_text="不填为立即发送",
    )
    listed = forms.CharField(required=False, widget=forms.HiddenInput)  # resource?query of a list
    receiver_names = ("numbers", "organisation", "role", "query")

    def __init__(self, template, actor, data=None, listed=""):
        super().__init__(data, initial={"listed": listed})
        self.template, self.actor = template, actor
        self.list = self._list(data.get("listed", "") if data else listed)
        self.queries = {str(q.pk): q for q in saved_queries(actor) if phone_of(q.resource.model)}
        organisations = Organisation.objects.visible_to(actor, SEND).filter(enabled=True)
        self.fields["organisation"].queryset = organisations.order_by("path")
        self.fields["role"].queryset = Role.objects.filter(enabled=True)
        choices = [(key, str(query)) for key, query in self.queries.items()]
        self.fields["query"].choices = [("", "—"), *choices]
        self.value_names = {f"value_{n}": p for n, p in enumerate(template.parameters) if p != NAME}
        for name, parameter in self.value_names.items():
            self.fields[name] = forms.CharField(label=parameter, max_length=LONGEST_VALUE)
        dress(self)

    def _list(self, listed):
        name, _, query = listed.partition("?")
        found = query_of_list(self.actor, name, query)
        return found if found and phone_of(found.resource.model) else None

    @property
    def in_list(self):
        """How many the list holds from which the operator came."""
        return self.list.selection(self.actor).total(MOST_FOUND)

    @property
    def value_fields(self):
        return [self[name] for name in self.value_names]

    @property
    def receiver_fields(self):
        return [self[name] for name in self.receiver_names]

    @property
    def time_fields(self):
        return [self["not_before"]]

    def clean_numbers(self):
        lines = [line.strip() for line in self.cleaned_data["numbers"].splitlines() if line.strip()]
        if len(lines) > MOST_LINES:
            raise ValidationError(f"最多 {MOST_LINES} 行，现在有 {len(lines)} 行")
        parts = [re.split(r"[\s,，、]+", line, maxsplit=1) for line in lines]
        for number, mobile in enumerate(mobiles([part[0] for part in parts])):
            if mobile is None:
                raise ValidationError(f"第 {number + 1} 行“{lines[number][:20]}”的开头不是 11 位手机号")
        return [Receiver(part[0], part[1][:60] if len(part) > 1 else "") for part in parts]

    def clean_not_before(self):
        at = self.cleaned_data["not_before"]
        if at and at < timezone.now():
            raise ValidationError("发送时间已过，请改为将来的时间，或不填以立即发送")
        return at

    def clean(self):
        entered = super().clean()
        if self.errors:
            return entered
        self.values = {parameter: entered[name] for name, parameter in self.value_names.items()}
        self.receivers, labels = list(entered["numbers"]), []
        if entered["numbers"]:
            labels.append(f"填写的号码（{len(entered['numbers'])} 个）")
        chosen = {name: entered[name] for name in ("organisation", "role") if entered[name]}
        if chosen:
            self.receivers += operators_to_reach(self.actor, **chosen)
            labels.append("、".join(str(value) for value in chosen.values()) + "的操作员")
        saved = self.queries[entered["query"]] if entered["query"] else None
        for field, query in (("query", saved), (None, self.list)):
            if query and not query.selection(self.actor).total(MOST_FOUND).exact:
                self.add_error(field, f"一次最多发给 {MOST_FOUND} 人，请缩小“{query}”的范围，分几次发送")
                return entered
            if query:
                self.receivers += found_by(query, self.actor)
                labels.append(str(query))
        if not labels:
            raise ValidationError("请填写手机号，或选择单位、角色、已保存的查询")
        self.label = "；".join(labels)
        return entered


def found_by(query, actor) -> list[Receiver]:
    """The rows of a saved query as receivers."""
    model = query.resource.model
    columns = [list_column(model, name) for name in (phone_of(model), "name")]
    receivers = []
    for phones, names in cells(query.selection(actor), columns, clear=True):
        receivers += map(Receiver, phones, names)
    return receivers


def phone_of(model) -> str:
    """The field of a model with people's telephone number, "" if it has none or no name to go with it."""
    found = next((field.name for field in personal_fields(model) if field.kind == "phone"), "")
    return found if hasattr(model, "name") else ""

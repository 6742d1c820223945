"""What changes dictionaries and system parameters (P-6.1, P-6.2)."""

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import transaction

from jingwei.base import audit, codes, parameters
from jingwei.base.models import Code, ParameterValue
from jingwei.base.saving import delete_record, save_record


def save_word(actor, word: Code, *, values, version=None) -> Code:
    """Add or change a word of a dictionary. Dictionary and value are fixed once rows hold the word."""
    moved = {
        name: value
        for name in ("kind", "value")
        if (value := values.get(name, getattr(word, name))) != getattr(word, name)
    }
    if moved and not word._state.adding and is_used(word):
        raise ValidationError(
            {name: "已有数据使用这个代码，不能修改；可以停用它，再新增一个" for name in moved}
        )
    saved = save_record(actor, word, resource="codes", values=values, version=version)
    transaction.on_commit(codes.forget)
    return saved


def delete_word(actor, word: Code):
    """Delete a word no row holds; one that is used can only be disabled (P-6.1)."""
    if is_used(word):
        raise ValidationError(f"“{word.label}”已有数据使用，不能删除；请改为停用")
    delete_record(actor, word, resource="codes")
    transaction.on_commit(codes.forget)


def is_used(word: Code) -> bool:
    """Whether any row of any table holds the word."""
    columns = [
        (model, field.name)
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, codes.CodeField) and field.dictionary == word.kind
    ]
    return any(model._base_manager.filter(**{name: word.value}).exists() for model, name in columns)


@transaction.atomic
def set_parameter(actor, parameter: parameters.Parameter, text: str):
    """Set a system parameter from what was entered; ValidationError for what it cannot be."""
    new = parameter.text(parameter.parse(text))
    stored = ParameterValue.objects.select_for_update().filter(name=parameter.name).first()
    old = stored.value if stored else parameter.text(parameter.default)
    if new == old:
        return
    ParameterValue.objects.update_or_create(name=parameter.name, defaults={"value": new})
    audit.record(
        actor, "参数修改", resource="parameters", label=parameter.label, changes={parameter.label: [old, new]}
    )
    transaction.on_commit(parameters.forget)

"""Which WeChat is an operator's: they say so themselves, with their password (P-2.4)."""

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from jingwei.base import audit
from jingwei.directory.models import Binding, Operator, Provider


def bind(actor, operator: Operator, provider: Provider, subject: str):
    """Let the operator sign in from `provider` as `subject`, which is nobody else's."""
    try:
        with transaction.atomic():
            Binding.objects.create(operator=operator, provider=provider, subject=subject)
            audit.record(actor, "绑定微信", operator, resource="operators", reason=str(provider))
    except IntegrityError as error:
        refuse(actor, operator, provider, "已经绑定")
        raise ValidationError("您的账号或这个微信已经绑定过。更换时请先用原来的账号解除绑定") from error


def refuse(actor, operator: Operator, provider: Provider, reason: str):
    """Log that nothing was bound."""
    about = {"resource": "operators", "reason": f"{provider}：{reason}"}
    audit.record(actor, "绑定微信", operator, result="拒绝", **about)


@transaction.atomic
def unbind(actor, operator: Operator, provider: Provider):
    """Go back to the password alone."""
    if not Binding.objects.filter(operator=operator, provider=provider).delete()[0]:
        raise ValidationError("没有绑定微信")
    audit.record(actor, "解除绑定微信", operator, resource="operators", reason=str(provider))

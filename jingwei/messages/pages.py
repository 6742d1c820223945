"""Pages of their own: sending, and the outbox of a platform without a gateway (P-7.1, P-7.2, P-7.4)."""

import re
import uuid

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from jingwei.base import audit
from jingwei.base.resource import Page
from jingwei.messages import actions
from jingwei.messages.delivery import take_in
from jingwei.messages.forms import SendForm
from jingwei.messages.gateways import Receipt, Reply
from jingwei.messages.models import ANSWER, NAME, Outage, SmsTemplate
from jingwei.messages.queries import SEND
from jingwei.messages.resources import SmsMessageResource

OUTBOX = "sms-outbox.view"
SHOWN_IN_OUTBOX = 50


def send(request):
    """Choose a template, fill it, see what goes to how many, send: one page, one step after the other."""
    templates = SmsTemplate.objects.visible_to(request.actor, SEND).filter(enabled=True)
    # What only an answer can fill is sent by an answer only.
    templates = [template for template in templates if ANSWER not in template.parameters]
    chosen = request.POST.get("template") or request.GET.get("template")
    template = next((template for template in templates if str(template.pk) == chosen), None)
    of, query = request.GET.get("of", ""), request.GET.get("query", "")
    if template is None:
        context = {"templates": templates, "may_add": request.actor.may("sms-templates.add")}
        return render(request, "messages/templates.html", context | {"of": of, "query": query})
    form = SendForm(template, request.actor, request.POST or None, f"{of}?{query}" if of else "")
    context = {
        "template": template,
        "form": form,
        # One form, one sending: a second click on the button is the same sending.
        "token": token_of(request),
        "outage": Outage.objects.filter(gateway=settings.JINGWEI_SMS).first(),
    }
    if request.method == "POST" and form.is_valid():
        try:
            preview = preview_of(form)
            if "send" in request.POST:
                return hand_in(request, form, context["token"])
        except ValidationError as refusal:
            form.add_error(None, refusal.messages)
        else:
            if "edit" not in request.POST:
                return render(request, "messages/confirm.html", context | preview)
    return render(request, "messages/send.html", context)


def token_of(request) -> str:
    """What tells this filling in of the form from others."""
    token = request.POST.get("token", "")
    return token if re.fullmatch("[0-9a-f]{32}", token) else uuid.uuid4().hex


def preview_of(form) -> dict:
    """What will be sent, as the first receiver gets it, and to how many."""
    numbers = actions.mobiles([receiver.number for receiver in form.receivers])
    reached = dict.fromkeys(number for number in numbers if number)
    if not reached:
        raise ValidationError("没有可发送的对象：所选人员都没有登记有效的手机号。")
    first = next(receiver for receiver, number in zip(form.receivers, numbers, strict=True) if number)
    filled = actions.preview(form.template, {NAME: first.name, **form.values})
    return {
        "preview": filled,
        "receivers": len(reached),
        "left_out": numbers.count(None),
        "parts": filled.parts * len(reached),
        "held": len(reached) > actions.RELEASE_ABOVE.value(),
        "limit": actions.RELEASE_ABOVE.value(),
    }


def hand_in(request, form, token) -> HttpResponseRedirect:
    """Send what the form says, to one or to many, and show what became of it."""
    key = f"form/{request.actor.operator_id}/{token}"
    given = {"values": form.values, "key": key, "not_before": form.cleaned_data["not_before"]}
    if len(form.receivers) == 1:
        [receiver] = form.receivers
        message = actions.send(request.actor, form.template, to=receiver.number, name=receiver.name, **given)
        messages.success(request, "短信已提交，发送结果见短信记录")
        return _shown(request.actor, "sms-messages", message)
    to = {"receivers": form.receivers, "label": form.label}
    batch = actions.send_group(request.actor, form.template, **to, **given)
    if batch.state == batch.HELD:
        messages.warning(request, f"群发 {batch.count} 人，须由另一人放行后才发送")
    else:
        messages.success(request, f"已向 {batch.count} 人提交短信，发送结果见短信记录")
    return _shown(request.actor, "sms-batches", batch)


def _shown(actor, resource, row):
    """On to the record of what was sent, where the operator may see it."""
    may = actor.may(f"{resource}.view")
    return redirect(reverse("desk:show", args=[resource, row.pk]) if may else reverse("desk:sms-send"))


@require_GET
def outbox(request):
    """What would be on the telephones: the messages that the development gateway took, the latest first."""
    return render(request, "messages/outbox.html", {"rows": in_outbox(request.actor)[:SHOWN_IN_OUTBOX]})


def in_outbox(actor):
    """The messages in the outbox whose records `actor` may see."""
    taken = SmsMessageResource().rows(actor).filter(gateway="outbox", sent_at__isnull=False)
    return taken.prefetch_related("replies").order_by("-sent_at", "-pk")


class EventForm(forms.Form):
    """What the gateway would tell of a message: that it arrived, that it did not, or an answer."""

    event = forms.ChoiceField(choices=[(name, name) for name in ("delivered", "failed", "reply")])
    text = forms.CharField(max_length=500, required=False)


@require_POST
def pretend(request, pk):
    """Have the outbox report on a message as a real gateway would."""
    message = get_object_or_404(in_outbox(request.actor), pk=pk)
    form = EventForm(request.POST)
    if not form.is_valid():
        messages.error(request, "请选择送达、未送达，或填写不超过 500 字的回复")
        return redirect("desk:sms-outbox")
    event, now = form.cleaned_data["event"], timezone.now()
    news = {
        "delivered": Receipt(uuid.uuid4().hex, True, "DELIVRD", uid=message.uid.hex, at=now),
        "failed": Receipt(uuid.uuid4().hex, False, "UNDELIV", uid=message.uid.hex, at=now),
        "reply": Reply(
            uuid.uuid4().hex, message.receiver.clear(), form.cleaned_data["text"], message.uid.hex, at=now
        ),
    }[event]
    with transaction.atomic():
        take_in("outbox", news)
        audit.record(request.actor, "模拟短信回执", message, resource="sms-outbox", event=event)
    return redirect("desk:sms-outbox")


PAGES = [Page("sms-send", "发送短信", SEND, [("", send)], icon="send")]
if settings.JINGWEI_SMS == "outbox":
    views = [("", outbox), ("<int:pk>/event/", pretend)]
    PAGES.append(Page("sms-outbox", "发件箱（演示）", OUTBOX, views, icon="device-mobile"))

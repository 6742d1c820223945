"""The ways through other systems: signing in, and binding one's own WeChat (P-2.4)."""

from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import ValidationError
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from jingwei.base.wall import beyond_scope
from jingwei.directory import bindings, providers, signing_in, wechat
from jingwei.directory.account import OwnPasswordForm, following_of, go_on
from jingwei.directory.middleware import origin
from jingwei.directory.models import Provider
from jingwei.directory.turns import in_turn

UNPROVED = "通过“{}”登录没有成功，请重新登录"


def _known(pk, **more):
    return get_object_or_404(Provider, pk=pk, enabled=True, **more)


def _way_back(request, name, pk):
    return request.build_absolute_uri(reverse(name, args=[pk]))


@login_not_required
@beyond_scope()
@never_cache
@require_GET
def sign_in(request, pk):
    """Send to another system's sign-in page."""
    provider = _known(pk)
    request.session["elsewhere"] = following_of(request)
    try:
        return providers.send(request, provider, _way_back(request, "back", pk))
    except ValidationError as error:
        messages.error(request, error.messages[0])
        return redirect("sign-in")


@login_not_required
@beyond_scope()
@never_cache
@require_GET
def back(request, pk):
    """Let in who comes back from another system, as far as the account here allows."""
    provider = _known(pk)
    where = origin(request)
    try:
        operator = signing_in.sign_in_from(provider, providers.subject_of(request, provider), **where)
    except providers.Unproved as error:
        refusal = signing_in.refuse(str(provider), None, UNPROVED.format(provider), str(error), where)
        messages.error(request, refusal.messages[0])
        return redirect("sign-in")
    except ValidationError as error:
        messages.error(request, error.messages[0])
        return redirect("sign-in")
    return go_on(request, operator, request.session.get("elsewhere", "/"))


@never_cache
@in_turn
@require_http_methods(["GET", "POST"])
def bind(request, pk):
    """Send somebody who is signed in, and gives the password once more, to WeChat to be bound."""
    provider = _known(pk, kind=Provider.WECHAT)
    form = OwnPasswordForm(request.POST or None)
    if form.proves(request, "绑定微信"):
        try:
            return providers.send(request, provider, _way_back(request, "bound", pk))
        except ValidationError as refusal:
            form.add_error(None, refusal)
    context = {"form": form, "provider": provider, "in_wechat": wechat.is_within(request)}
    return render(request, "directory/bind.html", context)


@never_cache
@require_GET
def bound(request, pk):
    """Bind who comes back from WeChat."""
    provider = _known(pk, kind=Provider.WECHAT)
    try:
        bindings.bind(request.actor, request.user, provider, providers.subject_of(request, provider))
    except providers.Unproved as error:
        bindings.refuse(request.actor, request.user, provider, str(error))
        messages.error(request, f"没有绑定“{provider}”，请重新绑定")
    except ValidationError as refusal:
        messages.error(request, refusal.messages[0])
    else:
        messages.success(request, f"已绑定“{provider}”，以后在微信中可直接登录")
    return redirect("account")


@never_cache
@require_POST
def unbind(request, pk):
    """Take the own binding back."""
    provider = get_object_or_404(Provider, pk=pk, kind=Provider.WECHAT)
    try:
        bindings.unbind(request.actor, request.user, provider)
    except ValidationError as refusal:
        messages.error(request, refusal.messages[0])
    else:
        messages.success(request, "已解除绑定")
    return redirect("account")

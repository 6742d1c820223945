"""The pages of one's own account: sign in and out, change the password, switch the appointment (P-2)."""

from django import forms
from django.contrib import auth, messages
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import ValidationError
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from jingwei.base import audit
from jingwei.directory import parameters, signing_in
from jingwei.directory.middleware import origin
from jingwei.directory.passwords import must_change


def _password(label, autocomplete):
    widget = forms.PasswordInput({"autocomplete": autocomplete})
    return forms.CharField(label=label, max_length=128, strip=False, widget=widget)


class SignInForm(forms.Form):
    """Name and password."""

    login = forms.CharField(
        label="登录名",
        max_length=80,
        widget=forms.TextInput({"autocomplete": "username", "autocapitalize": "none", "autofocus": True}),
    )
    password = _password("口令", "current-password")


class PasswordForm(forms.Form):
    """The old password and twice the new one."""

    old = _password("原口令", "current-password")
    new = _password("新口令", "new-password")
    again = _password("再输一次新口令", "new-password")

    def clean(self):
        values = super().clean()
        if values.get("new") and values.get("again") and values["new"] != values["again"]:
            self.add_error("again", "两次输入的新口令不一致")
        return values


@login_not_required
@never_cache
def sign_in(request):
    """The way in. A session that was open under the same cookie begins anew (SEC-3)."""
    following = _following(request)
    if request.method == "GET" and request.user.is_authenticated:
        return redirect(following)
    form = SignInForm(request.POST or None)
    if form.is_valid():
        try:
            operator = signing_in.sign_in(**form.cleaned_data, **origin(request))
        except ValidationError as error:
            form.add_error(None, error)
        else:
            request.session.flush()
            auth.login(request, operator)
            return redirect(following)
    return render(
        request,
        "directory/sign_in.html",
        {"form": form, "next": following, "signed_out": "out" in request.GET},
    )


def _following(request):
    address = request.POST.get("next") or request.GET.get("next") or "/"
    return (
        address
        if url_has_allowed_host_and_scheme(address, {request.get_host()}, request.is_secure())
        else "/"
    )


@require_POST
def sign_out(request):
    """The way out: the session is deleted and the browser forgets what it kept (SEC-3)."""
    signing_in.sign_out(request.actor)
    auth.logout(request)
    response = redirect("/sign-in/?out")
    response["Clear-Site-Data"] = '"cache", "cookies", "storage"'
    return response


@never_cache
def password(request):
    """Change one's own password; the only page open while it has to be changed."""
    form = PasswordForm(request.POST or None)
    if form.is_valid():
        values = form.cleaned_data
        try:
            signing_in.change_own_password(request.actor, request.user, old=values["old"], new=values["new"])
        except ValidationError as error:
            form.add_error(None, error)
        else:
            auth.update_session_auth_hash(request, request.user)  # this session goes on, all others end
            messages.success(request, "口令已修改")
            return redirect("/")
    return render(
        request,
        "directory/password.html",
        {
            "form": form,
            "forced": must_change(request.user),
            "length": parameters.PASSWORD_LENGTH.value(),
            "classes": parameters.PASSWORD_CLASSES.value(),
        },
    )


@require_POST
def appointment(request):
    """Work in another of one's own appointments, without signing out (P-1.4)."""
    chosen = request.POST.get("appointment", "")
    held = {str(a.pk): a for a in request.user.appointments_in_force}
    if chosen not in held:
        messages.error(request, "没有这个任职，或已经结束")
        return redirect("/")
    request.session["appointment"] = held[chosen].pk
    audit.record(request.actor, "切换任职", held[chosen], resource="appointments")
    messages.success(request, f"现在以“{held[chosen].organisation}”的身份工作")
    return redirect("/")

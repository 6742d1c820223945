"""The pages of one's own account: sign in and out, change the password, switch the appointment (P-2)."""

import polars as pl
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
from jingwei.directory.actions import ask_for_account
from jingwei.directory.middleware import origin
from jingwei.directory.models import Organisation, Registration
from jingwei.directory.passwords import must_change
from jingwei.kit.phone import clean_phones


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


class OfficeChoices(forms.ModelChoiceField):
    """Organisations that work, each under its township."""

    def __init__(self, **kwargs):
        working = Organisation.objects.filter(enabled=True, region__code__regex=r"^.{9,15}$")
        offices = working.select_related("region__parent")
        nameable = offices.defer("region__boundary", "region__parent__boundary")
        super().__init__(nameable, empty_label="请选择", **kwargs)

    def label_from_instance(self, organisation):
        region = organisation.region
        town = region.parent.name if len(region.code) > 9 else region.name
        return f"{town} · {organisation.short_name or organisation.name}"


class RegistrationForm(forms.ModelForm):
    """What somebody tells who asks for an account (P-1.4)."""

    phone = forms.CharField(label="联系电话", max_length=20, widget=forms.TextInput({"inputmode": "tel"}))
    organisation = OfficeChoices(label="所属村社区或单位")
    password = _password("口令", "new-password")
    again = _password("再输一次口令", "new-password")

    class Meta:
        model = Registration
        fields = ["kind", "name", "contact", "organisation", "login", "phone", "note"]
        labels = {"contact": "团体负责人（个人不填）", "note": "申请说明（可不填）"}

    def clean_phone(self):
        text = self.cleaned_data["phone"]
        cleaned = clean_phones(pl.Series([text]))
        if cleaned.errors[0]:
            raise ValidationError(cleaned.errors[0])
        return cleaned.values[0]

    def clean(self):
        values = super().clean()
        if values.get("password") and values.get("again") and values["password"] != values["again"]:
            self.add_error("again", "两次输入的口令不一致")
        return values


@login_not_required
@never_cache
def register(request):
    """Ask for an account; the answer is the same whether or not the login name is taken."""
    form = RegistrationForm(request.POST or None)
    if form.is_valid():
        try:
            ask_for_account(form.instance, password=form.cleaned_data["password"], origin=origin(request))
        except ValidationError as error:
            form.add_error(None, error)
        else:
            return render(request, "directory/registered.html", {"registration": form.instance})
    return render(
        request, "directory/register.html", {"form": form, "open": parameters.REGISTRATIONS.value() > 0}
    )


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

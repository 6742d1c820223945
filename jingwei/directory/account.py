"""The pages of one's own account: sign in and out, password, second factor, the appointment (P-2)."""

import time

import polars as pl
import segno
from django import forms
from django.contrib import auth, messages
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import ValidationError
from django.db.models import OuterRef, Subquery
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from jingwei.base import audit
from jingwei.base.wall import beyond_scope
from jingwei.directory import captchas, factors, parameters, signing_in, wechat
from jingwei.directory.actions import ask_for_account
from jingwei.directory.middleware import begin_session, origin
from jingwei.directory.models import Operator, Organisation, Provider, Registration, Session, SignIn
from jingwei.directory.models.accounts import WARNED_DAYS
from jingwei.directory.passwords import must_change
from jingwei.directory.sessions import digest_of
from jingwei.directory.turns import in_turn
from jingwei.kit.devices import device_in_words
from jingwei.kit.phone import clean_phones


def password_field(label, autocomplete):
    widget = forms.PasswordInput({"autocomplete": autocomplete})
    return forms.CharField(label=label, max_length=128, strip=False, widget=widget)


class CaptchaInput(forms.TextInput):
    """A new question each time it is shown; its value is the token of the last one and the answer."""

    template_name = "directory/widgets/captcha.html"
    words = False

    def get_context(self, name, value, attrs):
        return super().get_context(name, "", attrs) | {"question": captchas.question(words=self.words)}

    def value_from_datadict(self, data, files, name):
        return data.get(f"{name}_token", ""), data.get(name, "").strip()


class CaptchaField(forms.Field):
    """Token and answer of a question; whether it is right is decided where it counts."""

    widget = CaptchaInput({"autocomplete": "off", "autocapitalize": "characters", "maxlength": "8"})

    def __init__(self):
        super().__init__(label="验证码", required=False)


def _sent(form_class, request):
    """The form as it was sent. Who asked for another question gets it, and nothing is checked yet."""
    if "another" not in request.POST:
        return form_class(request.POST or None)
    form = form_class(initial=request.POST.dict())
    form.fields["captcha"].widget.words = request.POST["another"] == "words"
    return form


class SignInForm(forms.Form):
    """Name and password."""

    login = forms.CharField(
        label="登录名",
        max_length=80,
        widget=forms.TextInput({"autocomplete": "username", "autocapitalize": "none", "autofocus": True}),
    )
    password = password_field("口令", "current-password")
    captcha = CaptchaField()


class PasswordForm(forms.Form):
    """The old password and twice the new one."""

    old = password_field("原口令", "current-password")
    new = password_field("新口令", "new-password")
    again = password_field("再输一次新口令", "new-password")

    def clean(self):
        values = super().clean()
        if values.get("new") and values.get("again") and values["new"] != values["again"]:
            self.add_error("again", "两次输入的新口令不一致")
        return values


class OwnPasswordForm(forms.Form):
    """One's own password: whoever finds a session open cannot make the account their own for good."""

    password = password_field("本账号的口令", "current-password")

    def proves(self, request, act) -> bool:
        """Whether it holds the password, asked for `act`; a wrong one is told and logged."""
        if not self.is_valid():
            return False
        given = self.cleaned_data["password"]
        try:
            signing_in.require_own_password(request.actor, request.user, given, field="password", act=act)
        except ValidationError as refusal:
            self.add_error(None, refusal)
        return self.is_valid()


class CodeForm(forms.Form):
    """A one-time code, or a recovery code where the device is lost."""

    code = forms.CharField(
        label="动态口令或恢复码",
        max_length=40,
        widget=forms.TextInput(
            {"autocomplete": "one-time-code", "autocapitalize": "none", "autofocus": True}
        ),
    )


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
    password = password_field("口令", "new-password")
    again = password_field("再输一次口令", "new-password")
    captcha = CaptchaField()

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
@beyond_scope()
@never_cache
@in_turn
def register(request):
    """Ask for an account; the answer is the same whether or not the login name is taken."""
    form = _sent(RegistrationForm, request)
    if form.is_valid():
        values = {name: form.cleaned_data[name] for name in ("password", "captcha")}
        try:
            ask_for_account(form.instance, **values, origin=origin(request))
        except ValidationError as error:
            form.add_error(None, error)
        else:
            return render(request, "directory/registered.html", {"registration": form.instance})
    return render(
        request, "directory/register.html", {"form": form, "open": parameters.REGISTRATIONS.value() > 0}
    )


@login_not_required
@beyond_scope()
@never_cache
@in_turn
def sign_in(request):
    """The way in. A session that was open under the same cookie begins anew (SEC-3)."""
    following = following_of(request)
    if request.method == "GET" and request.user.is_authenticated:
        return redirect(following)
    form = _sent(SignInForm, request)
    if form.is_valid():
        try:
            operator = signing_in.sign_in(**form.cleaned_data, **origin(request))
        except ValidationError as error:
            form.add_error(None, error)
        else:
            return go_on(request, operator, following)
    locked = any(error.code == signing_in.LOCKED for error in form.non_field_errors().as_data())
    if locked or not signing_in.asks_captcha(request.POST.get("login", ""), origin(request)["address"]):
        del form.fields["captcha"]
    context = {"form": form, "next": following, "signed_out": "out" in request.GET}
    offered = Provider.objects.filter(enabled=True)
    context["providers"] = offered if wechat.is_within(request) else offered.exclude(kind=Provider.WECHAT)
    return render(request, "directory/sign_in.html", context)


def go_on(request, operator, following):
    """Open a session, or ask for the second factor first. What the session held before is gone (SEC-3)."""
    request.session.flush()
    if not operator.second_factor_since:
        _open_session(request, operator)
        return redirect(following)
    request.session["half"] = {
        "operator": operator.pk,
        "hash": operator.get_session_auth_hash(),
        "until": time.time() + HALF_SECONDS,
        "next": following,
    }
    return redirect("sign-in-code")


def _open_session(request, operator):
    auth.login(request, operator)
    begin_session(request)
    if operator.days_left <= WARNED_DAYS:
        left = f"还有 {operator.days_left} 天到期" if operator.days_left else "今天到期"
        messages.warning(request, f"您的账号{left}，到期后不能登录。仍需使用的，请联系安全管理员续期。")


HALF_SECONDS = 300  # between the password and the code


@login_not_required
@beyond_scope()
@never_cache
@in_turn
def sign_in_code(request):
    """The second half of the way in, for who gave the right password a moment ago (P-2.2)."""
    half = request.session.get("half", {"until": 0})
    known = Operator.objects.select_related("organisation", "factor")
    operator = known.filter(pk=half.get("operator")).first()
    if operator is None or half["until"] < time.time() or operator.get_session_auth_hash() != half["hash"]:
        return redirect("sign-in")
    form = CodeForm(request.POST or None)
    if form.is_valid():
        try:
            signing_in.give_code(operator, form.cleaned_data["code"], **origin(request))
        except ValidationError as error:
            form.add_error(None, error)
        else:
            request.session.flush()
            _open_session(request, operator)
            return redirect(half["next"])
    return render(request, "directory/sign_in_code.html", {"form": form})


def following_of(request):
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


@never_cache
def account(request):
    """One's own account: password, second factor, where it is signed in, who has tried to (P-2.1, P-2.3)."""
    operator = request.user
    here = digest_of(request.session.session_key)
    mine = Session.objects.filter(signing_in.online(), operator=operator)
    tries = SignIn.objects.filter(operator=operator)[:10]
    if request.method == "POST":
        chosen = mine.exclude(pk=here)
        if request.POST.get("session"):
            chosen = chosen.filter(pk=request.POST["session"])
        try:
            signing_in.end_own_sessions(request.actor, operator, chosen)
            messages.success(request, "已结束所选的登录")
        except ValidationError as error:
            messages.error(request, error.messages[0])
        return redirect("account")
    context = {
        "sessions": [(session, session.pk == here, device_in_words(session.device)) for session in mine],
        "tries": [(row, device_in_words(row.device)) for row in tries],
        "password_days": parameters.PASSWORD_DAYS.value(),
        "required": factors.is_required(operator),
        "wechats": Provider.objects.filter(kind=Provider.WECHAT, enabled=True).annotate(
            bound_at=Subquery(operator.bindings.filter(provider=OuterRef("pk")).values("at"))
        ),
        "in_wechat": wechat.is_within(request),
    }
    return render(request, "directory/account.html", context)


@never_cache
def second_factor(request):
    """Set the second factor up, renew its recovery codes, switch it off (P-2.2)."""
    asked, codes = request.POST.get("do"), []
    form = CodeForm(request.POST if "code" in request.POST else None)
    password = OwnPasswordForm(request.POST if asked == "set-up" else None)
    has_password = request.user.has_usable_password()
    if asked == "set-up" and (not has_password or password.proves(request, "启用双因素")):
        factors.set_up(request.user)
        return redirect("second-factor")
    if form.is_valid():
        try:
            codes = _change_factor(request, asked, form.cleaned_data["code"])
        except ValidationError as error:
            form.add_error(None, error)
    operator = Operator.objects.select_related("organisation", "factor").get(pk=request.user.pk)
    if form.is_valid():
        auth.update_session_auth_hash(request, operator)  # this session goes on, all others end
        if not codes:
            return redirect("second-factor")
    context = {"form": form, "codes": codes, "factor": getattr(operator, "factor", None)}
    context["required"] = factors.is_required(operator)
    if context["factor"] and not operator.second_factor_since:
        form.fields["code"].label = factors.CODE  # there are no recovery codes yet
        secret, address = context["factor"].secret.clear(), factors.address_of(context["factor"])
        context["secret"] = " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
        context["picture"] = segno.make_qr(address).svg_data_uri(scale=5, light="#fff")
    elif not context["factor"] and has_password:
        context["form"] = password
    return render(request, "directory/second_factor.html", context)


def _change_factor(request, asked, code):
    """Do what was asked on the page of the second factor; the recovery codes to be shown."""
    if asked == "confirm":
        return factors.confirm(request.actor, request.user, code)
    kind = signing_in.require_own_code(request.actor, request.user, code)
    if asked == "renew":
        return factors.renew_recovery_codes(request.actor, request.user, by=kind)
    factors.switch_off(request.actor, request.user, by=kind)
    messages.success(request, "双因素登录已停用")
    return []


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

"""Signing in on the desk: who is online, what is locked, which other systems vouch for people (P-2)."""

from django import forms
from django.db.models import Q
from django.db.models.functions import Now

from jingwei.base.resource import Between, Column, Exact, Figure, Ref, Region, Resource, Tab, Verb, YesNo
from jingwei.directory.forms import reason_field
from jingwei.directory.models import Guard, Provider, Session, SignIn
from jingwei.directory.providers import set_secret
from jingwei.directory.signing_in import end_session, lift, online
from jingwei.kit.devices import device_in_words


class SessionResource(Resource):
    name = "sessions"
    label = "在线用户"
    icon = "users"
    model = Session
    actions = ["view"]
    readonly = ["operator", "address", "device", "begun_at", "seen_at"]
    columns = [
        "operator",
        "operator__organisation",
        "address",
        Column("device", "设备", lambda session: device_in_words(session.device), "", ["device"]),
        "begun_at",
        "seen_at",
    ]
    order = ["-seen_at", "pk"]
    search = ["operator__name", "operator__login", "address"]
    search_hint = "姓名、登录名、地址"
    figures = [Figure("在线用户")]
    filters = [
        Region("operator__organisation__region", "所在辖区"),
        Ref("operator"),
        Exact("address"),
        Between("seen_at"),
    ]
    verbs = [
        Verb(
            "end",
            "强制退出",
            end_session,
            form={"reason": reason_field()},
            danger=True,
            note="对方打开下一个页面时即须重新登录；没有保存的内容会丢失。要禁止再登录，请停用账号。",
        )
    ]
    empty = "没有符合条件的在线用户。"

    def rows(self, actor, action="view"):
        return super().rows(actor, action).filter(online())


class LockResource(Resource):
    name = "locks"
    label = "登录锁定"
    icon = "lock"
    model = Guard
    actions = ["view"]
    readonly = ["key", "locked_until", "updated_at"]
    columns = [Column("of", "锁定对象", str, "key", ["key"]), "locked_until", "updated_at"]
    order = ["-locked_until", "pk"]
    search = ["key"]
    search_hint = "登录名、地址"
    verbs = [
        Verb("unlock", "解锁", lift, note="解锁前请核实是本人或本单位输错，不是有人在猜口令。"),
    ]
    empty = "现在没有锁定的登录名和地址。"
    has_page = False

    def rows(self, actor, action="view"):
        return super().rows(actor, action).filter(locked_until__gt=Now())


def way_back(provider):
    """What has to be told to the other system: where it may send people back to."""
    if provider.kind == Provider.WECHAT:
        return "网页授权域名：本站域名"
    return f"本站网址/sign-in/back/{provider.pk}/"


class ProviderResource(Resource):
    name = "providers"
    label = "统一认证"
    icon = "key"
    model = Provider
    actions = ["view", "add", "change", "delete"]
    fields = ["name", "kind", "issuer", "page", "client", "claim", "enabled"]
    columns = [
        "name",
        "kind",
        "issuer",
        "client",
        "claim",
        Column("back", "回调地址", way_back, "", ["pk", "kind"]),
        "enabled",
    ]
    sections = [
        ("统一认证", ["name", "kind", "client", "enabled", "back"]),
        ("OpenID Connect", ["issuer", "claim"]),
        ("微信公众号", ["page"]),
    ]
    order = ["name"]
    search = ["name", "issuer"]
    verbs = [
        Verb(
            "secret",
            "更换密钥",
            set_secret,
            form={
                "secret": forms.CharField(
                    label="密钥", max_length=200, strip=False, widget=forms.PasswordInput
                )
            },
            bulk=False,
            note="统一认证系统分配给本平台的客户端密钥，加密保存，不再显示。",
        )
    ]
    empty = "还没有接入统一认证。新增后，登录页会出现它的按钮；账号按“外部编号”对应，微信由本人绑定。"


class SignInResource(Resource):
    name = "signins"
    label = "登录日志"
    icon = "login"
    model = SignIn
    actions = ["view", "export"]
    internal = ["id"]
    readonly = ["at", "login", "operator", "address", "device", "succeeded", "reason"]
    columns = ["at", "login", "operator", "address", "device", "succeeded", "reason"]
    order = ["-pk"]
    search = ["login", "address"]
    search_hint = "登录名、地址"
    tabs = [Tab("失败", Q(succeeded=False))]
    filters = [Between("at"), Exact("login"), Exact("address"), YesNo("succeeded")]
    empty = "没有符合条件的登录记录。"

"""What accounts and signing in keep of people (SEC-17)."""

from django.db.models import Exists, OuterRef, Q

from jingwei.base.models import ListSetting
from jingwei.base.parameters import Parameter
from jingwei.base.personal import Columns, Kept, Stays
from jingwei.directory.models import (
    AnsweredCaptcha,
    Appointment,
    Binding,
    Department,
    Guard,
    KnownPermission,
    MenuGrant,
    MenuSetting,
    OaSource,
    Operator,
    Organisation,
    Post,
    Provider,
    Region,
    RegionChange,
    Registration,
    RetiredLogin,
    Role,
    SecondFactor,
    Session,
    SignIn,
)

SIGN_IN_DAYS = Parameter(
    "signin.keep_days", "登录日志保存天数", 365, "登录成功和失败的记录多少天后删除", "天", low=180, high=3650
)
REFUSED_DAYS = Parameter(
    "registrations.keep_days",
    "未通过的注册申请保存天数",
    180,
    "审核未通过的注册申请多少天后删除",
    "天",
    low=7,
    high=3650,
)
PARAMETERS = [SIGN_IN_DAYS, REFUSED_DAYS]

LOGS = "《网络安全法》第二十一条：日志留存"
WORK = "岗位职责"
ACCOUNT = "账号存续期间"

COLUMNS = [
    Columns(
        Operator,
        purpose="辨认操作员、授权和联系",
        basis=WORK,
        keep=ACCOUNT,
        names=["login", "login_key", "name", "external_id", "networks", "disabled_for", "last_login"],
        plain=[
            *("password", "old_passwords", "enabled", "enabled_at", "ends_on"),
            *("must_change_password", "password_at"),
        ],
    ),
    Columns(
        RetiredLogin,
        purpose="登录名不再给另一个人使用",
        basis=LOGS,
        keep="长期",
        names=["login_key"],
        label="用过的登录名",
        headings={"login_key": "登录名"},
    ),
    Columns(
        SecondFactor,
        purpose="核对本人的动态口令",
        basis="账号安全",
        keep="停用双因素时删除",
        names=["recovery"],
        plain=["confirmed_at", "last_step"],
        label="双因素",
        headings={"recovery": "恢复码的摘要"},
    ),
    Columns(
        Registration,
        purpose="审核注册申请",
        basis="本人申请",
        keep="未通过的按系统参数，通过的随账号",
        names=["name", "contact", "login", "note", "address", "decided_by", "opinion"],
        plain=["kind", "password", "state", "decided_at"],
    ),
    Columns(
        Binding,
        purpose="以微信登录本人账号",
        basis="本人绑定",
        keep="解除绑定、重置口令或删除账号时删除",
        names=["at"],
        headings={"subject": "微信标识（openid）"},
    ),
    Columns(
        Appointment,
        purpose="操作员的任职和权限",
        basis=WORK,
        keep=ACCOUNT,
        names=["starts_on", "ends_on"],
    ),
    Columns(
        SignIn,
        purpose="追查谁在何处登录",
        basis=LOGS,
        keep="按系统参数，不少于 180 天",
        names=["login", "address", "device"],
        plain=["at", "succeeded", "reason"],
    ),
    Columns(
        Session,
        purpose="维持登录、显示在线用户",
        basis="账号安全",
        keep="退出或到期即删",
        names=["address", "device", "begun_at", "seen_at", "session_data"],
        plain=["session_key", "expire_date"],
        headings={"session_data": "会话内容"},
    ),
    Columns(
        Guard,
        purpose="登录名和地址的锁定",
        basis="账号安全",
        keep="两天",
        names=["key", "tries"],
        plain=["locked_until", "updated_at"],
        headings={"tries": "输错的时间和登录名"},
    ),
    Columns(
        RegionChange,
        purpose="区划变更由谁办理",
        basis=WORK,
        keep="长期",
        names=["by"],
        plain=["old", "old_name", "at", "reason"],
    ),
]

NOBODYS = [
    *(Region, Organisation, Department, Post, Role, Role.regions.through, Role.organisations.through),
    *(
        Appointment.roles.through,
        MenuSetting,
        MenuGrant,
        KnownPermission,
        AnsweredCaptcha,
        Provider,
        OaSource,
    ),
]

KEPT = [
    Kept("sign-ins", "登录日志", SignIn, "at", SIGN_IN_DAYS),
    Kept("sessions", "已到期的登录会话", Session, "expire_date"),
    Kept(
        "registrations",
        "未通过的注册申请",
        Registration,
        "decided_at",
        REFUSED_DAYS,
        condition=Q(state=Registration.REFUSED),
        whole=False,
    ),
    Kept(
        "list-settings",
        "已删除账号保存的查询",
        ListSetting,
        condition=~Exists(Operator.objects.filter(pk=OuterRef("operator"))),
    ),
]

HELD = []
STAYS = [
    Stays(Operator, "操作员账号是岗位工作所需，随账号停用、删除办理，不按居民证件号查找", sealed=["phone"]),
    Stays(Registration, "注册申请是本人为开通账号所提，随申请办理，不按居民证件号查找", sealed=["phone"]),
]

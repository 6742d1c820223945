"""System parameters of accounts and signing in (P-2.1, P-6.2, SEC-1 to SEC-5)."""

from jingwei.base.parameters import Parameter

TRIES = Parameter("signin.tries", "允许输错口令次数", 5, "同一登录名连续输错达到次数后锁定", "次", 3, 20)
ADDRESS_TRIES = Parameter(
    "signin.address_tries",
    "同一地址允许输错次数",
    5,
    "同一网络地址输错达到次数后，不常在此登录的账号都不能从该地址登录；常在此登录的账号反复输错只算一次",
    "次",
    3,
    1000,
)
HOME = Parameter(
    "signin.home_days",
    "常用地址的期限",
    30,
    "账号在这些天内从某地址登录过，就算常在此登录；0 表示不区分，地址锁定对所有账号有效",
    "天",
    0,
    365,
)
CAPTCHA = Parameter(
    "signin.captcha",
    "输错几次后须填验证码",
    1,
    "同一登录名或同一地址输错达到次数后，登录须填验证码；0 表示总要填写",
    "次",
    0,
    20,
)
WINDOW = Parameter("signin.window", "输错口令的统计时长", 15, "在这段时间内的输错合并计数", "分钟", 1, 1440)
LOCK = Parameter("signin.lock", "锁定时长", 15, "从最后一次输错算起", "分钟", 1, 1440)
IDLE = Parameter("signin.idle", "无操作自动退出", 30, "", "分钟", 5, 720)
LONGEST = Parameter("signin.longest", "一次登录最长时间", 12, "到时须重新登录", "小时", 1, 24)
ONE_SESSION = Parameter(
    "signin.one_session", "一个账号只能在一处登录", False, "在别处登录时，原来的登录立即退出"
)
ACCOUNT_DAYS = Parameter(
    "signin.account_days",
    "账号有效期",
    365,
    "新账号的有效期，续期时从当天重新算起；已有账号的有效期不变",
    "天",
    30,
    1095,
)
UNUSED = Parameter(
    "signin.unused",
    "长期未登录停用",
    90,
    "超过天数未登录的账号夜间停用",
    "天",
    30,
    3650,
)
PASSWORD_LENGTH = Parameter("password.length", "口令最少字符数", 10, "", "个", 8, 64)
PASSWORD_CLASSES = Parameter(
    "password.classes", "口令最少字符种类", 3, "大写字母、小写字母、数字、符号四种中至少几种", "种", 1, 4
)
PASSWORD_HISTORY = Parameter("password.history", "不得重复的旧口令数", 5, "", "个", 0, 10)
PASSWORD_DAYS = Parameter("password.days", "口令有效期", 90, "到期后只能打开修改口令页面", "天", 1, 3650)
REGISTRATIONS = Parameter(
    "signin.registrations",
    "同一地址每天可提交的注册申请",
    20,
    "超过后当天不再接受；0 表示不开放注册",
    "份",
    0,
    1000,
)

PARAMETERS = [
    TRIES,
    ADDRESS_TRIES,
    HOME,
    CAPTCHA,
    WINDOW,
    LOCK,
    IDLE,
    LONGEST,
    ONE_SESSION,
    ACCOUNT_DAYS,
    UNUSED,
    PASSWORD_LENGTH,
    PASSWORD_CLASSES,
    PASSWORD_HISTORY,
    PASSWORD_DAYS,
    REGISTRATIONS,
]

"""Every setting of the platform. The environment is the only input; a wrong value stops the start.

Environment:
    JINGWEI_HOME        folder of this instance: database, keys, logs, logins (default var/ in the project)
    DATABASE_URL        a PostgreSQL >= 15 elsewhere, signing in as the application (jingwei/roles.sql);
                        without it the embedded server in JINGWEI_HOME is used
    JINGWEI_OWNER_URL   the same database as the owner of its tables, for migrations, backup and restore
    JINGWEI_REPLICA_URL a streaming replica of it, for reads that may be some seconds old
    JINGWEI_POOL        most database connections of one web process (default: none are pooled)
    JINGWEI_FILES       folder of uploads and exports, the same for all machines (default JINGWEI_HOME/files)
    JINGWEI_KEYS        key ring of the personal columns (default JINGWEI_HOME/keys.json)
    JINGWEI_MASTER_KEY_FILE  the key that wraps those of the ring (default JINGWEI_HOME/master.key); better on
                        another medium
    JINGWEI_CRYPTO      class of the crypto provider (default jingwei.base.crypto.SoftwareProvider)
    JINGWEI_SECRET_KEY  Django's signing key (default: made once in JINGWEI_HOME/secret-key)
    JINGWEI_STORAGE     where attachments lie: a folder, the same for all machines (default
                        JINGWEI_HOME/attachments), or s3://bucket/prefix?endpoint=https://host&region=name
    JINGWEI_VIRUS_SCAN  a clamd that sees every attachment first: tcp://host:3310 or unix:/path
                        (default: none does)
    JINGWEI_HOSTS       names under which the site is reached, separated by commas
    JINGWEI_SMS         SMS gateway: outbox (default, nothing leaves), http or cmpp
    JINGWEI_SMS_URL     its address: https://account@host/path, or
                        cmpp://SP-id@host:7890?src=number&service=id&extension=digits&repeats=refused
    JINGWEI_SMS_SECRET  the key shared with it
    JINGWEI_TILES       tiles under the boundaries on maps: addresses with {z}, {x} and {y} (XYZ or WMTS, Web
                        Mercator), separated by spaces, the lowest layer first
    JINGWEI_TILES_SYSTEM  the coordinates these tiles are drawn in: WGS-84 (default, Tianditu too) or GCJ-02
    JINGWEI_TILES_CREDIT  what maps say about the source of the tiles, such as its approval number
    JINGWEI_SITE        address under which the public reaches it, for the codes on posters
                        (default: the first of JINGWEI_HOSTS)
    JINGWEI_TLS         1 when the site is behind a proxy that speaks HTTPS
    JINGWEI_MONITOR     networks that may read /metrics and the details of /readyz, separated by commas
                        (default: this machine)
    JINGWEI_MONITOR_TOKEN  a bearer token that may read them from anywhere
    JINGWEI_TRUSTED_PROXY  addresses of proxies whose X-Forwarded-For is believed, separated by commas
"""

import os
import re
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from jingwei import embedded
from jingwei.kit.networks import clean_network

PACKAGE = Path(__file__).resolve().parent


def _number(name):
    value = os.environ.get(name, "0")
    if not value.isdecimal():
        raise ImproperlyConfigured(f"环境变量 {name} 应为非负整数，现在是“{value}”。")
    return int(value)


def _database(url, variable="DATABASE_URL"):
    """Django's settings for a libpq address; options Django has no name for go to the driver."""
    try:
        options = conninfo_to_dict(url)
    except ProgrammingError as error:
        raise ImproperlyConfigured(f"环境变量 {variable} 不是有效的 PostgreSQL 连接地址。") from error
    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    database = {name: str(options.pop(option, "")) for name, option in names.items()}
    if not database["NAME"]:
        raise ImproperlyConfigured(f"环境变量 {variable} 没有写明数据库名。")
    return {"ENGINE": "jingwei.base.postgresql", **database, "OPTIONS": options}


def _networks(name, default):
    """The networks a variable lists, in their usual form."""
    try:
        listed = [text for text in os.environ.get(name, default).split(",") if text.strip()]
        return [clean_network(text) for text in listed]
    except ValueError as error:
        raise ImproperlyConfigured(f"环境变量 {name}：{error}") from None


def _tile_host(template):
    """The origin of a tile address, as the content policy names it."""
    origin = re.match(r"https?://[\w.-]+(:\d+)?(?=/)", template)
    if not origin or not all(part in template for part in ("{z}", "{x}", "{y}")):
        raise ImproperlyConfigured(
            "环境变量 JINGWEI_TILES 应为瓦片地址，如 https://主机/{z}/{x}/{y}.png，多个之间用空格隔开。"
        )
    return origin[0]


def _secret_key(path):
    """The signing key in the file; made there the first time, readable by the owner only."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_text().strip()
        if len(key) < 50:
            raise ImproperlyConfigured(f"签名密钥文件不完整，请删除后重新启动：{path}") from None
        return key
    with open(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(64))
    return path.read_text()


# The instance
JINGWEI_HOME = Path(os.environ.get("JINGWEI_HOME") or PACKAGE.parent / "var").resolve()
JINGWEI_HOME.mkdir(parents=True, exist_ok=True)
JINGWEI_FILES = Path(os.environ.get("JINGWEI_FILES") or JINGWEI_HOME / "files").resolve()
JINGWEI_KEYS = Path(os.environ.get("JINGWEI_KEYS") or JINGWEI_HOME / "keys.json")
JINGWEI_MASTER_KEY_FILE = Path(os.environ.get("JINGWEI_MASTER_KEY_FILE") or JINGWEI_HOME / "master.key")
JINGWEI_CRYPTO = os.environ.get("JINGWEI_CRYPTO") or "jingwei.base.crypto.SoftwareProvider"
SECRET_KEY = os.environ.get("JINGWEI_SECRET_KEY") or _secret_key(JINGWEI_HOME / "secret-key")
DEBUG = False

# Data
EMBEDDED_SERVER = None if os.environ.get("DATABASE_URL") else JINGWEI_HOME / "pg"  # its data folder
DATABASES = {
    "default": _database(
        embedded.url(EMBEDDED_SERVER, user="jingwei_app") if EMBEDDED_SERVER else os.environ["DATABASE_URL"]
    )
}
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True  # a restarted server costs a reconnect, not an error page
DATABASES["default"]["OPTIONS"].setdefault("connect_timeout", 5)  # seconds; then the page says so
if pool := _number("JINGWEI_POOL"):
    # Who waits in vain is told so; a pool that cannot connect tries anew for the next, not minutes later.
    waits = {"timeout": 5, "reconnect_timeout": 2}  # seconds
    DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 1, "max_size": pool, **waits}
if url := os.environ.get("JINGWEI_REPLICA_URL"):
    DATABASES["replica"] = _database(url, "JINGWEI_REPLICA_URL") | {"CONN_HEALTH_CHECKS": True}
    # Who waits for a replica that is gone waits in vain: the database has it all.
    DATABASES["replica"]["OPTIONS"] |= {"connect_timeout": 2}
    if pool:
        DATABASES["replica"]["OPTIONS"]["pool"] = {"min_size": 0, "max_size": pool, "timeout": 2}
DATABASE_ROUTERS = ["jingwei.base.replica.Router"]
# Who owns the tables, for migrations alone: the application owns nothing (SEC-9).
OWNER_DATABASE = _database(
    embedded.url(EMBEDDED_SERVER)
    if EMBEDDED_SERVER
    else os.environ.get("JINGWEI_OWNER_URL") or os.environ["DATABASE_URL"],
    "JINGWEI_OWNER_URL",
)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "jingwei.base",
    "jingwei.directory",
    "jingwei.desk",
    "jingwei.messages",
    "jingwei.exchange",
    "jingwei.places",
    "jingwei.people",
    "jingwei.scans",
    "jingwei.testing",
    "jingwei.oversight",
    "jingwei.running",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.staticfiles",
    "csp",
    "pghistory",
    "pgtrigger",
    "procrastinate.contrib.django",
]

# Web
ROOT_URLCONF = "jingwei.urls"
WSGI_APPLICATION = "jingwei.wsgi.application"
MIDDLEWARE = [
    "jingwei.running.middleware.MeasuredMiddleware",
    # Before all that may answer by itself, with a refusal or a file.
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "jingwei.base.middleware.ClosedMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "jingwei.serving.CompressedPages",
    "jingwei.base.middleware.RequestIdMiddleware",
    "jingwei.directory.turns.SentAwayMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    # A stranger is sent away before what they sent is read into memory.
    "jingwei.directory.middleware.ActorMiddleware",
    "jingwei.base.middleware.FormsMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [PACKAGE / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": ["jingwei.desk.tags"],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]
# Uploads hold personal data: they stay in memory and never reach a temporary file in clear (P-4.1).
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]
FILE_UPLOAD_MAX_MEMORY_SIZE = 64 * 2**20

# Attachments of records
JINGWEI_STORAGE = os.environ.get("JINGWEI_STORAGE") or str(JINGWEI_HOME / "attachments")
if not JINGWEI_STORAGE.startswith("/") and not re.match(r"s3://[^/?]+", JINGWEI_STORAGE):
    raise ImproperlyConfigured(
        "环境变量 JINGWEI_STORAGE 应为绝对路径，或 s3://存储桶/前缀?endpoint=https://主机 这样的地址。"
    )
JINGWEI_VIRUS_SCAN = os.environ.get("JINGWEI_VIRUS_SCAN", "")
if JINGWEI_VIRUS_SCAN and not re.match(r"tcp://[^/]+$|unix:/", JINGWEI_VIRUS_SCAN):
    raise ImproperlyConfigured("环境变量 JINGWEI_VIRUS_SCAN 应为 tcp://主机:3310 或 unix:/套接字路径。")

STATIC_URL = "/static/"
STATIC_ROOT = JINGWEI_HOME / "static"
STATICFILES_DIRS = [PACKAGE / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "jingwei.serving.HashedFiles"},
}

# Who may
AUTH_USER_MODEL = "directory.Operator"
AUTHENTICATION_BACKENDS = ["jingwei.directory.backends.OperatorBackend"]
PASSWORD_HASHERS = ["jingwei.directory.hashers.PBKDF2SM3PasswordHasher"]
JINGWEI_TRUSTED_PROXIES = {name for name in os.environ.get("JINGWEI_TRUSTED_PROXY", "").split(",") if name}
SESSION_ENGINE = "jingwei.directory.sessions"
SESSION_COOKIE_AGE = 24 * 3600  # no session lasts longer; a parameter ends it sooner
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True  # pages carry the token themselves
CSRF_FAILURE_VIEW = "jingwei.base.errors.forged"
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
ALLOWED_HOSTS = [name for name in os.environ.get("JINGWEI_HOSTS", "").split(",") if name] or [
    "127.0.0.1",
    "localhost",
    "[::1]",
]
JINGWEI_SITE = os.environ.get("JINGWEI_SITE", "").rstrip("/") or (
    f"https://{ALLOWED_HOSTS[0]}"
    if os.environ.get("JINGWEI_TLS") == "1"
    else f"http://{ALLOWED_HOSTS[0]}:{os.environ.get('PORT', '8000')}"
)
if os.environ.get("JINGWEI_TLS") == "1":  # SEC-11
    if not JINGWEI_TRUSTED_PROXIES:
        # Else every visitor would come from the proxy's address: locked with it, and trusted with it.
        raise ImproperlyConfigured(
            "设置了 JINGWEI_TLS=1，还需要用 JINGWEI_TRUSTED_PROXY 写明反向代理的地址，如 127.0.0.1。"
        )
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = ["^healthz$", "^readyz$", "^metrics$"]  # asked for by machines beside this one
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
# To be preloaded by browsers is for the owner of the whole domain to ask, not for one site in it.
SILENCED_SYSTEM_CHECKS = ["security.W021"]

# Who may read figures and the state of the parts; everybody else learns whether the site works.
JINGWEI_MONITOR = _networks("JINGWEI_MONITOR", "127.0.0.0/8,::1")
JINGWEI_MONITOR_TOKEN = os.environ.get("JINGWEI_MONITOR_TOKEN", "")

# Maps: their tiles come from the only other host a page may ask, and only where one is named (P-10.5).
JINGWEI_TILES = os.environ.get("JINGWEI_TILES", "").split()
JINGWEI_TILES_SYSTEM = os.environ.get("JINGWEI_TILES_SYSTEM") or "WGS-84"
JINGWEI_TILES_CREDIT = os.environ.get("JINGWEI_TILES_CREDIT", "")
if JINGWEI_TILES_SYSTEM not in ("WGS-84", "GCJ-02"):
    raise ImproperlyConfigured(
        f"环境变量 JINGWEI_TILES_SYSTEM 应为 WGS-84 或 GCJ-02，现在是“{JINGWEI_TILES_SYSTEM}”。"
    )
TILE_HOSTS = sorted({_tile_host(template) for template in JINGWEI_TILES})

# No page may load anything from another host, nor run a script that stands in the page (P-10.5, CL-7.1).
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:", "blob:", *TILE_HOSTS],
        "font-src": [SELF],
        "connect-src": [SELF, *TILE_HOSTS],
        "manifest-src": [SELF],
        "worker-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}

# Short messages
JINGWEI_SMS = os.environ.get("JINGWEI_SMS") or "outbox"
JINGWEI_SMS_URL = os.environ.get("JINGWEI_SMS_URL", "")
JINGWEI_SMS_SECRET = os.environ.get("JINGWEI_SMS_SECRET", "")
if JINGWEI_SMS not in ("outbox", "http", "cmpp"):
    raise ImproperlyConfigured(f"环境变量 JINGWEI_SMS 应为 outbox、http 或 cmpp，现在是“{JINGWEI_SMS}”。")
if JINGWEI_SMS != "outbox" and not (urlsplit(JINGWEI_SMS_URL).hostname and JINGWEI_SMS_SECRET):
    raise ImproperlyConfigured("短信网关需要环境变量 JINGWEI_SMS_URL（含主机名）和 JINGWEI_SMS_SECRET。")

# Language and time
LANGUAGE_CODE = "zh-hans"
USE_I18N = True
TIME_ZONE = "Asia/Shanghai"
USE_TZ = True

# Background jobs: the platform keeps their record itself. A worker that ends tells running jobs to stop; they
# go on when one starts again.
PROCRASTINATE_WORKER_DEFAULTS = {"delete_jobs": "successful", "shutdown_graceful_timeout": 1.0}

# One line per event on the error stream; whoever starts the process decides which file it becomes.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "jingwei.kit.traces.LineFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
        }
    },
    "handlers": {"stderr": {"class": "jingwei.kit.traces.LineHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django": {"handlers": [], "level": "INFO"},
        "procrastinate": {"level": "WARNING"},  # it would tell of each look for stalled jobs
        "pikepdf": {"level": "WARNING"},  # it would greet whoever runs a command
    },
}

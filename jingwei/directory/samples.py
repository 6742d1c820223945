"""One valid row per model of base and directory, for the shared tests: what a community has of each."""

from datetime import timedelta
from itertools import count

from django.contrib.auth.hashers import make_password
from django.utils import timezone

from jingwei.base import audit
from jingwei.base.access import Actor
from jingwei.base.models import Alarm, Code, ErrorEntry, LogEntry
from jingwei.directory.models import (
    Appointment,
    Department,
    Guard,
    MenuGrant,
    Operator,
    Organisation,
    Post,
    Provider,
    Region,
    RegionChange,
    Registration,
    Role,
    Session,
    SignIn,
)

VILLAGE = "990101001001"
_numbers = count(1)


def region() -> Region:
    """A grid of the community."""
    number = next(_numbers)
    return Region.objects.create(code=f"{VILLAGE}{number:03d}", name=f"第{number}网格", parent_id=VILLAGE)


def region_change() -> RegionChange:
    return RegionChange.objects.create(old=f"{VILLAGE}999", old_name="原网格", new=region(), reason="合并")


def organisation() -> Organisation:
    return Organisation.objects.create(
        name=f"上埔社区第{next(_numbers)}小学",
        parent=Organisation.objects.get(region=VILLAGE, parent__region="990101001"),
        region_id=VILLAGE,
    )


def department() -> Department:
    return Department.objects.create(organisation=organisation(), name="办公室")


def post() -> Post:
    return Post.objects.create(department=department(), name="科员")


def role() -> Role:
    return Role.objects.create(name=f"样例角色{next(_numbers)}", permissions=["people.view"])


def operator() -> Operator:
    login = f"sample{next(_numbers)}"
    made = Operator(
        login=login, login_key=login, name="林样例", phone="16000000001", organisation=organisation()
    )
    made.set_unusable_password()
    made.save()
    return made


def appointment() -> Appointment:
    held = operator()
    return Appointment.objects.create(operator=held, organisation=held.organisation)


def menu_grant() -> MenuGrant:
    return MenuGrant.objects.create(operator=operator(), key="people")


def registration() -> Registration:
    return Registration.objects.create(
        name="林样例",
        login=f"wish{next(_numbers)}",
        password=make_password(None),
        phone="16000000001",
        organisation=organisation(),
        address="192.0.2.1",
    )


def code() -> Code:
    number = next(_numbers)
    return Code.objects.create(kind="人群分类", value=f"s{number}", label=f"样例{number}")


def log_entry() -> LogEntry:
    return audit.record(Actor(name="林样例", region=VILLAGE), "查看", label="样例")


def alarm() -> Alarm:
    now = timezone.now()
    return Alarm.objects.create(
        kind="大量导出", subject=f"sample{next(_numbers)}", said="样例", number=1, first_at=now, last_at=now
    )


def sign_in() -> SignIn:
    held = operator()
    return SignIn.objects.create(login=held.login, operator=held, address="192.0.2.1", succeeded=True)


def session() -> Session:
    now = timezone.now()
    return Session.objects.create(
        session_key=f"sample{next(_numbers)}",
        expire_date=now + timedelta(hours=1),
        operator=operator(),
        address="192.0.2.1",
        begun_at=now,
        seen_at=now,
    )


def provider() -> Provider:
    return Provider.objects.create(
        name=f"样例认证{next(_numbers)}", issuer="https://sso.example.cn", client="x"
    )


def guard() -> Guard:
    return Guard.objects.create(
        key=f"name sample{next(_numbers)}", locked_until=timezone.now() + timedelta(hours=1)
    )


def error_entry() -> ErrorEntry:
    return ErrorEntry.objects.create(
        reference="A1B2C3D4E5", kind="ValueError", trace="ValueError\n  a.py:1 run"
    )


SAMPLES = {
    Region: region,
    RegionChange: region_change,
    Organisation: organisation,
    Department: department,
    Post: post,
    Role: role,
    Operator: operator,
    Appointment: appointment,
    MenuGrant: menu_grant,
    Registration: registration,
    Code: code,
    LogEntry: log_entry,
    Alarm: alarm,
    SignIn: sign_in,
    Session: session,
    Guard: guard,
    Provider: provider,
    ErrorEntry: error_entry,
}

"""Tables of the directory: the organisation, the accounts that work in it, and how these sign in."""

from jingwei.directory.models.accounts import (
    Appointment,
    KnownPermission,
    MenuGrant,
    MenuSetting,
    Operator,
    Registration,
    RetiredLogin,
    Role,
    end_of_account,
    login_key,
)
from jingwei.directory.models.organisation import (
    Department,
    OaSource,
    Organisation,
    Post,
    Region,
    RegionChange,
)
from jingwei.directory.models.signing_in import (
    AnsweredCaptcha,
    Binding,
    Guard,
    Provider,
    SecondFactor,
    Session,
    SignIn,
)

__all__ = [
    "AnsweredCaptcha",
    "Appointment",
    "Binding",
    "Department",
    "Guard",
    "KnownPermission",
    "MenuGrant",
    "MenuSetting",
    "OaSource",
    "Operator",
    "Organisation",
    "Post",
    "Provider",
    "Region",
    "RegionChange",
    "Registration",
    "RetiredLogin",
    "Role",
    "SecondFactor",
    "Session",
    "SignIn",
    "end_of_account",
    "login_key",
]

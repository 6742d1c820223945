"""Who may grant what, and how the three administrators exclude each other (P-1.5, P-1.8, SEC-6)."""

from django.core.exceptions import ValidationError

SYSTEM, SECURITY, AUDIT = "系统管理员", "安全管理员", "审计管理员"

# The resources each of the three administrators is for.
ADMINISTRATORS = {
    SYSTEM: {
        "regions",
        "organisations",
        "departments",
        "posts",
        "codes",
        "parameters",
        "menus",
        "menu_grants",
        "errors",
        "jobs",
    },
    SECURITY: {"operators", "appointments", "roles"},
    AUDIT: {"logs", "signins"},
}
# What other roles may hold of them as well; everything else makes the role an administrator's.
ORDINARY = {
    "regions": {"view", "export"},
    "organisations": {"view", "export"},
    "departments": {"view", "add", "change", "delete", "export"},
    "posts": {"view", "add", "change", "delete", "export"},
    "operators": {"view", "add", "change", "import", "export"},
}
LOOK_UP = {"regions", "organisations", "departments", "posts"}


def is_business(resource: str) -> bool:
    """Whether a resource holds the business of the five systems, which no administrator sees by that role."""
    return not any(resource in resources for resources in ADMINISTRATORS.values())


def administrator_holds(kind: str, resource: str, action: str) -> bool:
    """Whether the shipped role of an administrator begins with a permission."""
    return resource in ADMINISTRATORS[kind] or (resource in LOOK_UP and action == "view" and kind == SECURITY)


def administrator_kind(permissions) -> str:
    """Which of the three administrators a role with these permissions makes, "" for none.

    ValidationError if it would be two of them, or an administrator who sees business data.
    """
    pairs = [permission.split(".") for permission in permissions]
    kinds = [
        kind
        for kind, resources in ADMINISTRATORS.items()
        if any(resource in resources and action not in ORDINARY.get(resource, ()) for resource, action in pairs)
    ]
    if len(kinds) > 1:
        raise ValidationError(f"三员分立：一个角色不能同时有{'与'.join(kinds)}的权限，请分成不同的角色")
    if kinds and any(is_business(resource) for resource, _ in pairs):
        raise ValidationError(f"三员分立：{kinds[0]}的角色不能含业务数据的权限，请分成不同的角色")
    return kinds[0] if kinds else ""

"""Who gets through to a page of the desk: an operator with the permission the page names (P-1.10)."""

from contextlib import nullcontext
from functools import wraps
from http import HTTPStatus

from django.core.exceptions import ImproperlyConfigured
from django.shortcuts import get_object_or_404

from jingwei.base.access import NotPermitted
from jingwei.base.sheets import sheet_of
from jingwei.desk.lists import with_keys


def require(request, resource, action):
    """Refuse with 403 what the operator has no permission for; the page of the refusal logs it."""
    require_permission(request, f"{resource.name}.{action}", resource.label)


def require_permission(request, permission, label="", menu=""):
    """`require` for a page; `menu` is its entry of the menu, which may be hidden (P-1.7)."""
    request.permission_asked = True
    if not request.actor.may_open(menu, permission):
        raise NotPermitted(permission, label)


def row_or_404(request, resource, action, key):
    """The row with this key of an address, among those the operator may use `action` on."""
    return get_object_or_404(with_keys(resource.rows(request.actor, action), [key]))


def permitted(actor, resource) -> set[str]:
    """The actions on a resource that its pages may offer `actor`."""
    found = {permission.partition(".")[2] for permission in resource.permissions() if actor.may(permission)}
    return found - {"import"} if "import" in found and sheet_of(resource) is None else found


def guarded(view, permission="", label="", menu=""):
    """A view as the addresses mount it.

    `permission` is asked here for pages that name one; a view of a resource asks by `require`. A view that
    answers without having asked is a mistake of ours and answers nobody.
    """

    @wraps(view)
    def guard(request, *args, **kwargs):
        request.permission_asked = False
        if permission:
            require_permission(request, permission, label, menu)
        with kwargs["resource"].standing() if "resource" in kwargs else nullcontext():
            response = view(request, *args, **kwargs)
        if not request.permission_asked and response.status_code != HTTPStatus.METHOD_NOT_ALLOWED:
            raise ImproperlyConfigured(f"{request.path} answers without asking for a permission")
        return response

    return guard


def for_everyone(view):
    """A view as the addresses mount it that every operator may open: it shows only the operator's own."""

    @wraps(view)
    def own(request, *args, **kwargs):
        request.permission_asked = True
        return view(request, *args, **kwargs)

    return guarded(own)


def is_fragment(request) -> bool:
    """Whether htmx asks for a part of a page."""
    return request.headers.get("HX-Request") == "true" and "HX-History-Restore-Request" not in request.headers

"""What the portal of the OA may ask: our menu, as JSON (KP-8.3)."""

import time

from django.contrib.auth.decorators import login_not_required
from django.http import HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from jingwei.base.wall import beyond_scope
from jingwei.directory import oa_actions
from jingwei.directory.actors import actor_for
from jingwei.directory.models import Operator
from jingwei.kit.signing import is_signed


@login_not_required
@beyond_scope()
@never_cache
@require_GET
def menus(request):
    """What the OA's `person` may open: {"systems": [{name, "entries": [{name, address}]}]}.

    Signed with the secret shared with the OA (docs/oa.md). Who is unknown or may not sign in has nothing.
    """
    from jingwei import menu  # its pages import this package

    if not _is_signed(request, oa_actions.source()):
        return HttpResponse(status=403)
    person = request.GET.get("person", "")
    linked = Operator.objects.select_related("organisation").exclude(external_id="")
    known = linked.filter(external_id=person).first() if person.isprintable() else None
    return JsonResponse(
        {
            "systems": [
                {
                    "name": system.label,
                    "entries": [
                        {"name": entry.label, "address": request.build_absolute_uri(f"/{entry.name}/")}
                        for entry in entries
                    ],
                }
                for system, entries in menu.entries_for(actor_for(known))
            ]
        },
        json_dumps_params={"ensure_ascii": False},
    )


def _is_signed(request, source):
    given = {name: request.headers.get(f"X-Jingwei-{name}", "") for name in ("Time", "Nonce", "Signature")}
    return (
        source.enabled
        and source.secret is not None
        and is_signed(
            source.secret.clear().encode(),
            given["Signature"],
            method="GET",
            target=request.get_full_path(),
            time=given["Time"],
            nonce=given["Nonce"],
            body=b"",
            now=time.time(),
        )
    )

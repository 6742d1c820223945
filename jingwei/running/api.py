"""Addresses for load balancers and monitoring: /healthz, /readyz, /metrics (P-10.2)."""

from hmac import compare_digest

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST

from jingwei.base.wall import beyond_scope
from jingwei.directory.middleware import origin
from jingwei.kit.networks import is_inside
from jingwei.running import health, metrics

NEVER_KEPT = {"Cache-Control": "no-store"}


@login_not_required
@beyond_scope()
@require_safe
def healthz(request):
    """200 while the process answers at all: to start it anew would help against nothing else."""
    return HttpResponse("ok", content_type="text/plain", headers=NEVER_KEPT)


@login_not_required
@beyond_scope()
@require_safe
def readyz(request):
    """200 while visitors may be sent here, else 503. What is wrong learns only who may monitor."""
    found = health.parts()
    ready = health.is_ready(found)
    answer = {"ready": ready}
    if may_monitor(request):
        answer["parts"] = {
            part.name: {"good": part.good, "said": part.said, "needed": part.needed} for part in found
        }
    return JsonResponse(
        answer,
        status=200 if ready else 503,
        headers=NEVER_KEPT,
        json_dumps_params={"ensure_ascii": False},
    )


@login_not_required
@beyond_scope()
@require_safe
def figures(request):
    """The figures for Prometheus. For others there is no such page."""
    if not may_monitor(request):
        raise Http404
    return HttpResponse(metrics.exposition(), content_type=CONTENT_TYPE_LATEST, headers=NEVER_KEPT)


def may_monitor(request) -> bool:
    """Whether a request comes from a network of JINGWEI_MONITOR or carries its token."""
    token = settings.JINGWEI_MONITOR_TOKEN
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if token and scheme == "Bearer" and compare_digest(given.encode(), token.encode()):
        return True
    return is_inside(origin(request)["address"], settings.JINGWEI_MONITOR)

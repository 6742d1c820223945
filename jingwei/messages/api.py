"""Where the HTTP gateway tells by itself what became of messages: POST /gateway/sms/ (P-7.2)."""

import json
import time

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from jingwei.base.wall import beyond_scope
from jingwei.kit.signing import is_signed
from jingwei.messages.delivery import take_in
from jingwei.messages.gateways.http import read_events


@login_not_required
@beyond_scope()
@csrf_exempt
@require_POST
def receive(request):
    """Take in the events of a signed request; a repeated one changes nothing, so replays are harmless."""
    given = {name: request.headers.get(f"X-Jingwei-{name}", "") for name in ("Time", "Nonce", "Signature")}
    signed = settings.JINGWEI_SMS == "http" and is_signed(
        settings.JINGWEI_SMS_SECRET.encode(),
        given["Signature"],
        method="POST",
        target=request.get_full_path(),
        time=given["Time"],
        nonce=given["Nonce"],
        body=request.body,
        now=time.time(),
    )
    if not signed:
        return HttpResponse(status=403)
    try:
        data = json.loads(request.body)
    except (RecursionError, ValueError):
        return HttpResponse(status=400)
    events = list(read_events(data if isinstance(data, dict) else {}))
    for _, news in events:
        if news:
            take_in("http", news)
    return JsonResponse({"taken": [name for name, _ in events]})

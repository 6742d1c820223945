"""What holds for every request and every answer, whoever asks for what."""

import secrets

from csp.utils import build_policy
from django.core.exceptions import BadRequest
from django.http import HttpResponseNotAllowed

METHODS = ["GET", "HEAD", "POST"]
STRANGERS_MOST = 2**16  # bytes of a form on a page for everybody: many at a time are held in memory
HEADERS = {
    "Content-Security-Policy": build_policy(),  # the same for every answer: made once
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}


class ClosedMiddleware:
    """No address knows another method than GET, HEAD and POST (SEC-7).

    No page loads or runs what is elsewhere, no other site loads an answer, no page asks for place, camera
    or microphone (SEC-11), and a browser keeps nothing that does not say so itself (SEC-18).
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        offered = request.method in METHODS
        response = self.get_response(request) if offered else HttpResponseNotAllowed(METHODS)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response


class FormsMiddleware:
    """What is sent along is text that the database can hold, and little where anybody may send it (SEC-12).

    It comes after who is not signed in was sent away and before anything reads a form.
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_view(self, request, view, args, kwargs):
        # A gateway reads the body of its requests itself.
        read = not getattr(view, "csrf_exempt", False)
        if read and not getattr(view, "login_required", True):
            if int(request.META.get("CONTENT_LENGTH") or 0) > STRANGERS_MOST:
                raise BadRequest("A stranger's form is too big")
        sent = request.POST.lists() if read else []
        texts = [request.path, *(text for _, values in sent for text in values)]
        # No text of the database holds it: what is asked or sent with it is a mistake or an attack.
        if "%00" in request.META["QUERY_STRING"] or any("\0" in text for text in texts):
            raise BadRequest("NUL in a request")


class RequestIdMiddleware:
    """Sets `request.request_id`, short enough to be read out on the phone; tells it in X-Request-Id.

    By it page, log row and error entry find each other (P-3.3, SEC-8).
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        request.request_id = secrets.token_hex(5).upper()
        response = self.get_response(request)
        response["X-Request-Id"] = request.request_id
        return response

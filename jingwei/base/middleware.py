"""A number for every request, by which page, log row and error entry find each other (P-3.3, SEC-8)."""

import secrets


class RequestIdMiddleware:
    """Sets `request.request_id`, short enough to be read out on the phone; tells it in X-Request-Id."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        request.request_id = secrets.token_hex(5).upper()
        response = self.get_response(request)
        response["X-Request-Id"] = request.request_id
        return response

"""What the requests take (P-10.2)."""

import time

from django.conf import settings

from jingwei.running.metrics import REQUESTS, SECONDS

# Another method would be a label that a visitor chooses.
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
MONITORING = {"/healthz", "/readyz", "/metrics"}


class MeasuredMiddleware:
    """Counts every request by its route, never by its address, which names records."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.path in MONITORING:
            # Asked for by the address of the machine, which is no name of the site.
            request.META["HTTP_HOST"] = settings.ALLOWED_HOSTS[0]
        began = time.perf_counter()
        response = self.get_response(request)
        match = request.resolver_match
        route = match.route if match else "其他"
        method = request.method if request.method in METHODS else "其他"
        SECONDS.labels(method, route).observe(time.perf_counter() - began)
        REQUESTS.labels(method, route, response.status_code).inc()
        return response

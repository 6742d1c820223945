"""The addresses of the whole site."""

from django.contrib.auth.decorators import login_not_required
from django.db import connection
from django.http import HttpResponse
from django.urls import include, path

from jingwei.directory.api import menus
from jingwei.messages.api import receive
from jingwei.scans.mobile import scan_page


@login_not_required
def health(request):
    """200 while web server and database answer."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse("ok", content_type="text/plain", headers={"Cache-Control": "no-store"})


urlpatterns = [
    path("e/<str:token>/", scan_page),
    path("healthz", health),
    path("gateway/sms/", receive),
    path("gateway/oa/menus/", menus),
    path("", include("jingwei.directory.urls")),
    path("", include("jingwei.desk.urls")),
]
handler400 = "jingwei.base.errors.bad_request"
handler403 = "jingwei.base.errors.refused"
handler404 = "jingwei.base.errors.not_found"
handler500 = "jingwei.base.errors.failed"

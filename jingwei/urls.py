"""The addresses of the whole site."""

from django.urls import include, path

from jingwei.directory.api import menus
from jingwei.messages.api import receive
from jingwei.running.api import figures, healthz, readyz
from jingwei.scans.mobile import scan_page

urlpatterns = [
    path("e/<str:token>/", scan_page),
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", figures),
    path("gateway/sms/", receive),
    path("gateway/oa/menus/", menus),
    path("", include("jingwei.directory.urls")),
    path("", include("jingwei.desk.urls")),
]
handler400 = "jingwei.base.errors.bad_request"
handler403 = "jingwei.base.errors.refused"
handler404 = "jingwei.base.errors.not_found"
handler500 = "jingwei.base.errors.failed"

"""What was printed: the browser tells when it opens its print dialog, by button or by key (SEC-8, P-3.1)."""

from django.http import HttpResponse
from django.views.decorators.http import require_POST

from jingwei.base import audit
from jingwei.desk.guard import require, row_or_404
from jingwei.desk.looks import whom


@require_POST
def print_list(request, resource):
    """Note that a page of a list is printed."""
    require(request, resource, "view")
    audit.record(request.actor, "打印", resource=resource.name, label=f"{resource.label}列表")
    return HttpResponse(status=204)


@require_POST
def print_row(request, resource, pk):
    """Note that the page of a record is printed."""
    require(request, resource, "view")
    row = row_or_404(request, resource, "view", pk)
    audit.record(request.actor, "打印", row, resource=resource.name, people=whom(resource, row))
    return HttpResponse(status=204)

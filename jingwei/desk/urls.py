"""The addresses of the desk: home, the pages and the resources of the menu."""

from django.urls import path, register_converter

from jingwei import menu
from jingwei.base import replica
from jingwei.desk import (
    attachment_pages,
    editing,
    exports,
    files,
    home,
    imports,
    job_pages,
    printing,
    unmasking,
    verbs,
    views,
)
from jingwei.desk.guard import for_everyone, guarded


class ResourceConverter:
    """A resource of the menu, by its name in the address."""

    regex = "[a-z][a-z0-9_-]*"

    def to_python(self, value):
        if value not in menu.resources():
            raise ValueError
        return menu.resource(value)

    def to_url(self, value):
        return getattr(value, "name", value)


register_converter(ResourceConverter, "resource")


def pages():
    """The routes of the menu's pages; the first one of each has the page's name."""
    for page in menu.pages():
        for number, (route, view) in enumerate(page.views):
            name = f"{page.name}-{number}" if number else page.name
            if page.tolerates_lag:
                view = replica.tolerating_lag(view)
            yield path(
                f"{page.name}/{route}", guarded(view, page.permission, page.label, page.name), name=name
            )


def own_pages():
    """The routes of pages that stand in for the desk's own ones of a resource."""
    for resource in menu.resources().values():
        for route, view in resource.pages:
            yield path(f"{resource.name}/{route}", guarded(view), {"resource": resource})


app_name = "desk"
urlpatterns = [
    path("", for_everyone(home.home), name="home"),
    path("badges/", for_everyone(home.badges), name="badges"),
    path("jobs/", for_everyone(job_pages.centre), name="jobs"),
    path("jobs/<int:pk>/cancel/", for_everyone(job_pages.cancel), name="job-cancel"),
    path("jobs/<int:pk>/retry/", for_everyone(job_pages.retry), name="job-retry"),
    path("files/<uuid:pk>/", for_everyone(files.download), name="file"),
    *pages(),
    *own_pages(),
    path("<resource:resource>/", guarded(views.list_rows), name="list"),
    path("<resource:resource>/new/", guarded(editing.new_row), name="new"),
    path("<resource:resource>/import/", guarded(imports.upload), name="import"),
    path("<resource:resource>/import/template/", guarded(imports.template), name="import-template"),
    path("<resource:resource>/import/<int:pk>/", guarded(imports.show), name="load"),
    path("<resource:resource>/import/<int:pk>/mapping/", guarded(imports.save_mapping), name="load-mapping"),
    path(
        "<resource:resource>/import/<int:pk>/worksheet/",
        guarded(imports.choose_worksheet),
        name="load-worksheet",
    ),
    path("<resource:resource>/import/<int:pk>/confirm/", guarded(imports.confirm), name="load-confirm"),
    path("<resource:resource>/import/<int:pk>/discard/", guarded(imports.discard), name="load-discard"),
    path("<resource:resource>/import/<int:pk>/stop/", guarded(imports.stop), name="load-stop"),
    path("<resource:resource>/import/<int:pk>/again/", guarded(imports.again), name="load-again"),
    path("<resource:resource>/import/<int:pk>/undo/", guarded(imports.undo), name="load-undo"),
    path("<resource:resource>/import/<int:pk>/report/", guarded(imports.report), name="load-report"),
    path("<resource:resource>/export/", guarded(exports.export), name="export"),
    path("<resource:resource>/printed/", guarded(printing.print_list), name="print-list"),
    path("<resource:resource>/columns/", guarded(views.save_columns), name="columns"),
    path("<resource:resource>/queries/", guarded(views.save_query), name="queries"),
    path("<resource:resource>/options/<str:field>/", guarded(views.suggest), name="options"),
    path("<resource:resource>/do/<str:verb>/", guarded(verbs.do_verb), name="verb"),
    path("<resource:resource>/<str:pk>/", guarded(views.show_row), name="show"),
    path("<resource:resource>/<str:pk>/edit/", guarded(editing.edit_row), name="edit"),
    path("<resource:resource>/<str:pk>/delete/", guarded(editing.delete_row), name="delete"),
    path("<resource:resource>/<str:pk>/printed/", guarded(printing.print_row), name="print-row"),
    path("<resource:resource>/<str:pk>/unmask/", guarded(unmasking.unmask), name="unmask"),
    path("<resource:resource>/<str:pk>/attachments/", guarded(attachment_pages.card), name="attachments"),
    *(
        path(f"<resource:resource>/<str:pk>/attachments/<int:attachment>/{route}", guarded(view), name=name)
        for route, view, name in [
            ("", attachment_pages.download, "attachment"),
            ("small/", attachment_pages.small, "attachment-small"),
            ("large/", attachment_pages.large, "attachment-large"),
            ("caption/", attachment_pages.describe, "attachment-caption"),
            ("delete/", attachment_pages.delete, "attachment-delete"),
        ]
    ),
]

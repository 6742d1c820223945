"""How pages and their files leave the server."""

from django.middleware.gzip import GZipMiddleware
from whitenoise.storage import CompressedManifestStaticFilesStorage


class CompressedPages(GZipMiddleware):
    """Pages are compressed; a download, which streams, leaves as it is, with its length known."""

    def process_response(self, request, response):
        return response if response.streaming else super().process_response(request, response)


class HashedFiles(CompressedManifestStaticFilesStorage):
    """Every file under a name that changes with its content, so that browsers may keep it for good.

    A module that another one imports too: else each page would ask anew for each of them.
    """

    support_js_module_import_aggregation = True

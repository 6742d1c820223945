"""How the files of the pages are served."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedFiles(CompressedManifestStaticFilesStorage):
    """Every file under a name that changes with its content, so that browsers may keep it for good.

    A module that another one imports too: else each page would ask anew for each of them.
    """

    support_js_module_import_aggregation = True

"""The web application, for granian or any other WSGI server."""

import gc
import os
from importlib import import_module

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jingwei.settings")
# A request cleans a row, or some: to hand them to other threads costs more than it saves.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
application = get_wsgi_application()

# What is loaded by now stays for good: without this the collector goes through all of it now and then, and
# some request waits a tenth of a second.
import_module(settings.ROOT_URLCONF)
gc.collect()
gc.freeze()
gc.set_threshold(20_000)  # a page makes some thousand objects, hardly any of them in a circle

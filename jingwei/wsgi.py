"""The web application, for granian or any other WSGI server."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jingwei.settings")
# A request cleans a row, or some: to hand them to other threads costs more than it saves.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
application = get_wsgi_application()

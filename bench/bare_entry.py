"""The reference of KP-P5: the least that can record an entry, one INSERT and one commit for each request."""

import os
from urllib.parse import parse_qs

from psycopg_pool import ConnectionPool

PAGE = "已登记".encode()
connections = ConnectionPool(
    os.environ["BENCH_DATABASE"], min_size=4, max_size=16, kwargs={"autocommit": True}
)


def application(environ, start_response):
    """Store the form as it comes."""
    form = parse_qs(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode())
    with connections.connection() as connection:
        connection.execute(
            "INSERT INTO bare_entry VALUES (now(), %s, %s, %s, %s)",
            [environ["PATH_INFO"], *(form[name][0] for name in ("name", "number", "phone"))],
        )
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(PAGE)))]
    start_response("200 OK", headers)
    return [PAGE]

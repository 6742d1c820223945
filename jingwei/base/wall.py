"""The second wall: which rows the database itself shows to who acts (P-1.10, SEC-7)."""

from contextlib import contextmanager


@contextmanager
def beyond_scope():
    """Inside, rows outside the scope of who acts are reached on purpose: what is unique over all units, who
    signs in, what the platform does of its own accord."""
    yield

"""Jingwei 经纬: one platform for the people who run a Chinese county or district."""

import os

# Before anything imports Polars. It works on some thousand rows at a time, beside a reading process and the
# database: handing them to more threads cost an eighth of the processor's time of a load and won nothing.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

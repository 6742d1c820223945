"""What monitoring learns, and nobody else."""

import re

import pytest

from tests.production import Visitor, monitored, until

pytestmark = [pytest.mark.req("P-10.2"), pytest.mark.xdist_group("running")]


def test_figures_count_requests_by_route_and_name_nobody(first, officer):
    officer.text("/people/?q=13800000000")
    until(lambda: "jingwei_replica_lag_seconds" in monitored(first, "/metrics").data.decode())
    told = monitored(first, "/metrics").data.decode()
    [count] = re.findall(
        r'jingwei_requests_total\{method="GET",route="<resource:resource>/",status="200"\} (\S+)', told
    )
    assert float(count) >= 1
    assert 'jingwei_log_rows_5m{act="登录",result="成功"}' in told
    assert "jingwei_worker_silence_seconds" in told
    assert "13800000000" not in told and 'district"' not in told and "127.0.0.1" not in told


def test_who_may_not_monitor_learns_only_whether_it_works(first):
    stranger = Visitor(first.port)
    assert stranger.get("/metrics").status == 404
    assert stranger.get("/metrics", Authorization="Bearer guessed").status == 404
    assert set(stranger.get("/readyz").json()) == {"ready"}
    assert stranger.get("/healthz", Host="10.0.0.7:8000").data == b"ok"  # by the machine's address

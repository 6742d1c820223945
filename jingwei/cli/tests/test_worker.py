"""How the worker is started."""

import pytest

from jingwei.cli import worker


@pytest.mark.req("P-10.2")
@pytest.mark.parametrize("asked", ["", "2"])
def test_a_worker_has_connections_for_all_its_jobs_at_once(asked, monkeypatch):
    """An import takes three: it works ahead in a thread, and tells how far it is."""
    monkeypatch.setenv("JINGWEI_POOL", asked)
    assert int(worker.environment(jobs=4)["JINGWEI_POOL"]) > 4 * 3

"""Several machines serve one instance."""

import re

import pytest

from tests.production import Machine, Visitor, database, inside, monitored, until

pytestmark = [pytest.mark.req("P-10.2"), pytest.mark.xdist_group("running")]


@pytest.mark.req("SEC-3")
def test_who_signed_in_at_one_machine_is_signed_in_at_the_other_and_out_of_both(first, second, officer):
    there = Visitor(second.port)
    there.cookies = officer.cookies
    page = there.text("/people/")
    token = re.search(
        'csrfmiddlewaretoken[^>]+value="([^"]+)"|hx-headers=\'[^\']*"X-CSRFToken": "([^"]+)"', page
    )
    assert token
    there.ask("POST", "/sign-out/", {"csrfmiddlewaretoken": token[1] or token[2]})
    assert officer.get("/people/").status == 302


def test_every_machine_has_a_worker_and_says_so(site, second):
    until(lambda: database(site, "SELECT count(*) FROM procrastinate_workers") == [(2,)])
    for machine in (site[0], second):
        parts = monitored(machine, "/readyz").json()["parts"]
        assert parts["worker"]["good"] and parts["database"]["good"] and parts["migrations"]["good"]


@pytest.mark.parametrize("command", ["web", "worker"])
def test_a_machine_with_another_signing_key_does_not_start(first, tmp_path, command):
    stranger = Machine(first, tmp_path / "stranger")
    (stranger.home / "secret-key").unlink()
    refused = stranger.run(command)
    assert refused.returncode == 2 and "签名密钥与这个实例的不同" in refused.stderr, refused.stderr


def test_a_file_made_on_one_machine_is_given_out_by_the_other(first, second, officer):
    pk = inside(
        first,
        """
        from jingwei.desk import files
        from jingwei.directory.models import Operator
        with files.create(Operator.objects.get(login="district").pk, "名单.txt") as file:
            file.write("一人".encode())
        print(file.stored.pk)
        """,
    )
    there = Visitor(second.port)
    there.cookies = officer.cookies
    assert there.text(f"/files/{pk}/") == "一人"


def test_migration_on_a_second_machine_changes_nothing(second):
    done = second.run("migrate")
    assert done.returncode == 0 and "已是最新" in done.stdout, done.stderr


@pytest.mark.req("SEC-20")
def test_a_changed_file_is_named_and_stands_in_the_log(site, second):
    script = next((second.home / "static" / "js").glob("desk.*.js"))
    script.write_bytes(script.read_bytes() + b"\nsteal()")
    checked = second.run("integrity")
    assert checked.returncode == 1 and f"{script.name} 被修改" in checked.stderr
    [(reason,)] = database(
        site,
        "SELECT reason FROM base_logentry WHERE act = '文件校验' ORDER BY id DESC LIMIT 1",
    )
    assert script.name in reason

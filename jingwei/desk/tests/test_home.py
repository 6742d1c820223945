"""The home page says what waits for whom, and every number on it opens the list it counts."""

from urllib.parse import urlsplit

import pytest
from django.core.cache import cache

from jingwei.base.models import Job
from jingwei.desk import jobs, tasks
from jingwei.desk.home import figures
from jingwei.people import statistics
from jingwei.people.models import TallyChange
from jingwei.people.samples import number, person

pytestmark = pytest.mark.django_db
OLD = "19500101"


@pytest.mark.req("P-6.4", "P-9.4", "P-1.6")
def test_every_number_is_the_number_of_its_list(village, district):
    person(number=number(OLD)), person(number=number("20000101")), person(resident="否")
    person(number=number(OLD), region="990101002001")
    for persona in (village, district):
        for figure in figures(persona.actor):
            address = urlsplit(figure.address)
            page = persona.client.get(f"{address.path}?{address.query}").context["page"]
            assert (figure.label, page.total) == (figure.label, figure.total)
    numbers = {figure.label: figure.total.number for figure in figures(village.actor)}
    assert (numbers["在册人员"], numbers["60岁以上"]) == (3, 1)


@pytest.mark.req("P-6.4")
def test_what_waits_is_shown_while_there_is_any(village):
    assert "60岁以上未接种" not in village.client.get("/").content.decode()
    person(number=number(OLD))
    page = village.client.get("/").content.decode()
    assert "60岁以上未接种" in page
    Job.objects.create(kind="export", label="导出 人员信息", owner=village.operator.pk)
    assert "导出 人员信息" in village.client.get("/").content.decode()


@pytest.mark.req("P-6.4", "P-6.3")
def test_the_frame_counts_running_jobs_and_waiting_work(village, town):
    person(number=number(OLD))
    Job.objects.create(kind="export", label="导出", owner=village.operator.pk)
    Job.objects.create(kind="export", label="导出", owner=village.operator.pk, state=Job.DONE)
    badges = village.client.get("/badges/").content.decode()
    assert 'data-running="1"' in badges and 'data-waiting="0"' not in badges
    assert 'data-running="0"' in town.client.get("/badges/").content.decode()


@pytest.mark.req("SEC-5", "P-1.10")
def test_who_has_no_rights_is_told_whom_to_ask(nobody):
    page = nobody.client.get("/").content.decode()
    assert "还没有任何权限" in page and "安全管理员" in page and "nobody" in page
    assert 'class="side-system"' not in page


@pytest.mark.req("P-1.8", "P-1.7")
@pytest.mark.parametrize("login", ["sysadmin", "secadmin", "auditadmin"])
def test_the_administrators_see_no_business_on_their_home(login, request):
    persona = request.getfixturevalue(login)
    person()
    page = persona.client.get("/").content.decode()
    assert "人员信息" not in page and 'href="/people/' not in page
    assert 'class="side-system"' in page


@pytest.mark.req("P-9.4", "P-6.4")
def test_numbers_that_are_wrong_wait_for_the_system_administrator_until_a_recount_agrees(sysadmin, village):
    statistics.refresh()
    person()
    TallyChange.objects.all().delete()  # what the tallies will never hear of

    def night():
        tasks.run_scheduled(0, kind=statistics.RECOUNT)
        jobs.run({name: kind.work for name, kind in tasks.KINDS.items()}, Job.objects.latest("pk").pk)
        cache.clear()
        return sysadmin.client.get("/").content.decode()

    home = night()
    assert statistics.RECOUNT_LABEL in home and "处不一致" in home and 'href="/jobs-of-all/"' in home
    assert 'data-waiting="1"' in sysadmin.client.get("/badges/").content.decode()
    assert "处不一致" in sysadmin.client.get("/jobs-of-all/").content.decode()
    assert statistics.RECOUNT_LABEL not in village.client.get("/").content.decode()
    assert statistics.RECOUNT_LABEL not in night()
    assert 'data-waiting="0"' in sysadmin.client.get("/badges/").content.decode()

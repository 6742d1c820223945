"""A verb on one row, on chosen ones or on a whole result says what it will do, and what became of it."""

import pytest
from django.core.exceptions import ValidationError

from jingwei import menu
from jingwei.base.models import Job, LogEntry
from jingwei.desk import jobs, tasks, verbs
from jingwei.directory.models import Region
from jingwei.people.models import Person, Transfer
from jingwei.people.samples import person

pytestmark = pytest.mark.django_db
NEXT_VILLAGE = "990101001002"
OTHER_TOWN = "990101002001"
TRANSFER = {"to_region": NEXT_VILLAGE, "reason": "搬家", "confirm": "1"}


def do(persona, verb="transfer", **sent):
    return persona.client.post(f"/people/do/{verb}/", sent)


@pytest.mark.req("P-5.1", "CL-3.7")
def test_a_verb_on_one_row_asks_first_and_tells_the_outcome(town, village):
    mine = person(name="甲")
    asked = town.client.get(f"/people/do/transfer/?pk={mine.pk}").content.decode()
    assert "迁移：甲" in asked and "原村/社区只保留迁移记录" in asked
    assert Person.objects.get().region_id == village.region
    answer = do(town, pk=mine.pk, **TRANSFER)
    assert answer.url == f"/people/{mine.pk}/"
    assert Person.objects.get().region_id == NEXT_VILLAGE
    assert LogEntry.objects.get(act="迁移").reason == "搬家"
    # Out of the clerk's sight, the record's page is no place to go to.
    back = person(name="乙")
    assert do(village, pk=back.pk, **TRANSFER).url == "/people/"


@pytest.mark.req("P-5.2", "SEC-12")
def test_a_row_that_goes_out_of_reach_at_the_same_moment_is_refused_in_words(village):
    mine = person(name="甲")
    Person.objects.update(region=OTHER_TOWN)
    verb = menu.resource("people").verb("transfer")
    values = {"to_region": Region.objects.get(code=NEXT_VILLAGE), "reason": ""}
    with pytest.raises(ValidationError, match="移走或删除"):
        verbs._do(village.actor, verb, mine, values)
    assert not LogEntry.objects.filter(act="迁移").exists()


@pytest.mark.req("P-5.1", "P-5.2")
def test_a_refused_verb_says_why_beside_the_field(town, village):
    mine = person()
    answer = do(town, pk=mine.pk, **TRANSFER | {"to_region": village.region})
    assert "已经在" in answer.context["form"].errors["to_region"][0]
    assert do(town, pk=mine.pk, **TRANSFER | {"to_region": ""}).context["form"].errors["to_region"]
    assert not Transfer.objects.exists()


@pytest.mark.req("P-5.1", "P-3.1")
def test_chosen_rows_are_done_one_by_one_and_the_refused_ones_named(town):
    rows = [person(name=name) for name in ("甲", "乙")] + [person(name="丙", region=NEXT_VILLAGE)]
    keys = [row.pk for row in rows]
    asked = do(town, pk=keys).content.decode()
    assert "迁移 3 条人员信息" in asked
    assert not Transfer.objects.exists()
    outcome = do(town, pk=keys, **TRANSFER).context["outcome"]
    assert (outcome.done, outcome.refusals) == (2, 1)
    assert outcome.refused[0][0] == "丙" and "已经在" in outcome.refused[0][1]
    assert set(Person.objects.values_list("region_id", flat=True)) == {NEXT_VILLAGE}
    entry = LogEntry.objects.get(act="批量迁移")
    assert entry.detail == {"完成": 2, "未办理": 1}


@pytest.mark.req("P-5.1")
def test_many_rows_and_dangerous_acts_want_the_number_typed(village, monkeypatch):
    keys = [person().pk for _ in range(3)]
    for typed in ("", "2", "三"):
        answer = do(village, "delete", pk=keys, confirm="1", typed=typed)
        assert "请输入要办理的条数 3" in answer.context["form"].errors["__all__"][0]
    assert Person.objects.count() == 3
    monkeypatch.setattr(verbs, "TYPED_FROM", 3)
    assert "请输入要办理的条数 3" in str(do(village, pk=keys, **TRANSFER).context["form"].errors)
    assert do(village, "delete", pk=keys, confirm="1", typed="3").context["outcome"].done == 3
    assert not Person.objects.exists()


@pytest.mark.req("P-5.1", "P-1.6", "CL-2.1")
def test_the_whole_result_means_the_rows_that_were_selected_and_may_be_reached(village):
    for name in ("张一", "张二", "李三"):
        person(name=name)
    person(name="张四", region=OTHER_TOWN)
    outcome = do(village, all="1", query="q=张", **TRANSFER).context["outcome"]
    assert outcome.done == 2
    assert set(Person.objects.filter(region=NEXT_VILLAGE).values_list("name", flat=True)) == {"张一", "张二"}


@pytest.mark.req("P-1.6", "P-5.1")
def test_a_selection_that_cannot_be_read_selects_nothing(village):
    person()
    answer = do(village, "delete", all="1", query="sex=9X", confirm="1", typed="1")
    assert "性别" in answer.context["refusal"]
    assert Person.objects.count() == 1


@pytest.mark.req("P-6.3", "P-4.1", "P-5.1")
def test_very_many_rows_are_a_background_job_that_keeps_what_was_searched_sealed(village, monkeypatch):
    monkeypatch.setattr(verbs, "AT_ONCE", 2)
    for _ in range(3):
        person(name="张三", phone="16000000005")
    answer = do(village, all="1", query="q=16000000005", **TRANSFER)
    assert answer.url == "/jobs/"
    job = Job.objects.get(kind="bulk")
    assert "16000000005" not in str(job.arguments) and not Transfer.objects.exists()
    jobs.run({name: kind.work for name, kind in tasks.KINDS.items()}, job.pk)
    job.refresh_from_db()
    assert (job.state, job.message) == (Job.DONE, "完成 3 条")
    assert Transfer.objects.count() == 3


@pytest.mark.req("P-1.10")
def test_a_verb_for_one_row_takes_no_list_and_an_unknown_one_is_none(village):
    keys = [person().pk, person().pk]
    assert do(village, "vaccinate", pk=keys, dose="1", on="2021-01-01", confirm="1").status_code == 404
    assert do(village, "explode", pk=keys).status_code == 404
    assert verbs.verb_of(menu.resource("samples"), "delete") is None

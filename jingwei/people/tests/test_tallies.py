"""The counts kept ready for the statistics agree with the people, whatever happens to them."""

import random
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import F, Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jingwei.base import loading, parameters, undoing
from jingwei.base.access import platform_actor
from jingwei.base.models import LogEntry, ParameterValue
from jingwei.cli.demo import ensure_demo
from jingwei.desk.home import figures
from jingwei.directory.models import Region
from jingwei.people import actions, merges, statistics, tallies
from jingwei.people.models import DuplicatePair, Merge, Person, Tally, TallyChange, TallyCount
from jingwei.people.queries import DOSE_2_AFTER
from jingwei.people.samples import number, person
from jingwei.people.sheets import RosterSheet

# A snapshot is about other transactions, so each test commits.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.req("P-9.4", "CL-P4")]
CLERK = platform_actor("测试")
VILLAGES = ["990101001001", "990101001002", "990101002001"]
WORK = ["企业职工", "快递员", "货车司机", ""]


def everywhere(model):
    return Q()


def counted(on, count=tallies.counted):
    return [sorted(count(each, everywhere, 12), key=str) for each in statistics.counts_on(on)]


def by_people(on):
    """The same numbers from the people themselves."""
    found = counted(on, tallies._from_people)
    return [[row for row in rows if any(row[2])] for rows in found]


def by_tallies(on):
    assert Tally.objects.filter(day=on).count() == len(statistics.counts_on(on))
    return [[row for row in rows if any(row[2])] for rows in counted(on)]


def whole(count, day):
    """What the count says of all people: {measure: number}."""
    [numbers] = [row[2] for row in tallies.counted(count.on(day), everywhere, 6) if row[0] == 0]
    return dict(zip((measure.name for measure in count.measures), numbers, strict=True))


def somebody(rng):
    return Person.objects.order_by("pk")[rng.randrange(Person.objects.count())]


def add(rng, folder):
    born = timezone.localdate() - timedelta(days=rng.randrange(36_000))
    person(
        rng.choice(VILLAGES),
        f"{born:%Y%m%d}",
        number=number(f"{born:%Y%m%d}", rng.randrange(1_000)),
        occupation=rng.choice(WORK),
        tenant=rng.choice(["是", "否", ""]),
    )


def edit(rng, folder):
    chosen = somebody(rng)
    values = {"occupation": rng.choice(WORK), "resident": rng.choice([True, False, None])}
    actions.save_person(CLERK, chosen, values=values, version=chosen.version)


def change_many(rng, folder):
    ago = timezone.now() - timedelta(days=rng.randrange(20))
    Person.objects.filter(sex=rng.choice("12")).update(sampled_at=ago, dose=rng.choice([None, 1, 2]))
    Person.objects.filter(dose=2).update(dose_on=timezone.localdate() - timedelta(days=rng.randrange(300)))


def move(rng, folder):
    chosen = somebody(rng)
    other = rng.choice([code for code in VILLAGES if code != chosen.region_id])
    actions.transfer_person(CLERK, chosen, to_region=Region.objects.get(pk=other))


def vaccinate(rng, folder):
    chosen = somebody(rng)
    if chosen.doses.count() < 5:
        dose = 1 + max(chosen.doses.values_list("dose", flat=True), default=0)
        on = timezone.localdate() - timedelta(days=rng.randrange(400))
        actions.vaccinate(CLERK, chosen, dose=dose, on=on)


def remove(rng, folder):
    somebody(rng).delete()


def load(rng, folder):
    """A sheet that adds people and changes some; now and then it is taken back."""
    known = [p.number.clear() for p in Person.objects.filter(doc_type="111")[:5]]
    rows = [["村/社区", "姓名", "证件号", "单位（从业情况）"]]
    rows += [[rng.choice(VILLAGES), "王新", one, rng.choice(WORK)] for one in known]
    rows += [[rng.choice(VILLAGES), "王新", number("19700101", n), rng.choice(WORK)] for n in range(40, 60)]
    file = folder / f"{rng.random()}.csv"
    file.write_text("\n".join(",".join(row) for row in rows))
    done = loading.load(CLERK, RosterSheet(), file)
    assert done.counts["added"] + done.counts["changed"] + done.counts["unchanged"] > 10
    if rng.random() < 0.5:
        undoing.undo(CLERK, RosterSheet(), done)


def merge(rng, folder):
    first, second = Person.objects.order_by("pk")[:2]
    told = {"score": 50, "reasons": "姓名相同", "state": DuplicatePair.WAITING}
    pair, _ = DuplicatePair.objects.update_or_create(first=first, second=second, defaults=told)
    merges.merge(CLERK, pair, keep=first.pk, taken=("occupation",))
    if rng.random() < 0.5:
        merges.undo(CLERK, Merge.objects.latest("pk"), reason="判断有误")


@pytest.mark.parametrize("seed", range(2))
def test_after_any_changes_the_sums_are_those_of_a_recount(seed, tmp_path):
    rng, today = random.Random(seed), timezone.localdate()
    ensure_demo(120, lambda done, total: None)
    statistics.refresh()
    happenings = [add, edit, change_many, move, vaccinate, remove, load, merge]
    for happening in rng.sample(happenings * 4, 32):
        happening(rng, tmp_path)
        if rng.random() < 0.3:
            tallies.refresh(statistics.counts_on, today, most=rng.choice([0, 5]))
        assert by_tallies(today) == by_people(today), happening
    assert tallies.recount(statistics.counts_on, today) == 0
    assert TallyChange.objects.count() == 0
    # Of tomorrow, too: who turns sixty then, whose second dose falls due, is another number.
    tomorrow = today + timedelta(days=1)
    edit(rng, tmp_path)
    assert by_tallies(tomorrow) == by_people(tomorrow)


def test_a_change_that_was_not_committed_or_changes_nothing_counted_is_not_noted():
    someone = person()
    statistics.refresh()
    assert TallyChange.objects.count() == 0
    Person.objects.filter(pk=someone.pk).update(name="改名", version=F("version") + 1)
    assert TallyChange.objects.count() == 0
    Person.objects.filter(pk=someone.pk).update(occupation="快递员")
    assert sorted(TallyChange.objects.values_list("sign", "occupation")) == [(-1, "企业职工"), (1, "快递员")]


def test_ages_and_days_since_a_test_are_those_of_the_day():
    today = timezone.localdate()
    born = (today + timedelta(days=1)).replace(year=today.year - 60)
    person(born=f"{born:%Y%m%d}")
    tallies.recount(statistics.counts_on, today)
    assert whole(statistics.AREAS, today)["elderly"] == 0
    assert whole(statistics.AREAS, today + timedelta(days=1))["elderly"] == 1


def test_another_parameter_counts_by_itself_at_once(district):
    chosen = person(born="19500101")
    dosed = timezone.localdate() - timedelta(days=20)
    Person.objects.filter(pk=chosen.pk).update(dose=1, dose_on=dosed)
    statistics.refresh()
    today = timezone.localdate()
    assert whole(statistics.OLD, today)["overdue"] == 0
    ParameterValue.objects.create(name=DOSE_2_AFTER.name, value="14")
    parameters.forget()
    assert whole(statistics.OLD, today)["overdue"] == 1
    statistics.refresh()
    assert Tally.objects.count() == len(statistics.counts_on(today))  # the one of the old parameter is gone
    assert whole(statistics.OLD, today)["overdue"] == 1
    parameters.forget()


@pytest.mark.req("P-6.4")
def test_the_numbers_of_the_home_page_are_kept_ready_and_right(district, village):
    for n, work in enumerate(WORK * 2):
        person(VILLAGES[n % 3], "19500101" if n < 5 else "19900101", occupation=work)

    def on_the_page(persona):
        return {figure.address: figure.total for figure in figures(persona.actor)}

    before = [on_the_page(persona) for persona in (district, village)]
    statistics.refresh()
    assert [on_the_page(persona) for persona in (district, village)] == before
    person(VILLAGES[0], "19400101")
    assert on_the_page(village)["/people/"].number == before[1]["/people/"].number + 1
    with CaptureQueriesContext(connection) as captured:
        on_the_page(district)
    assert not [q["sql"] for q in captured if 'FROM "people_person"' in q["sql"]]


def test_a_page_with_tallies_reads_nobody(district):
    person()
    district.client.get("/population/")
    statistics.refresh()
    with CaptureQueriesContext(connection) as queries:
        response = district.client.get("/population/")
    assert response.context["tables"][0]["total"]["cells"][0]["value"] == 1
    assert not [q for q in queries if '"people_person"' in q["sql"]]
    assert len(queries) <= 12


def test_the_nightly_recount_raises_an_alarm_on_a_planted_difference_and_mends_it():
    person()
    statistics.refresh()
    assert statistics.recount(CLERK, None, None) == {"message": "统计数字与人员信息一致。"}
    wrong = TallyCount.objects.filter(grouping=0).first()
    wrong.counts[0] += 1
    wrong.save()
    with pytest.raises(ValidationError, match="有 1 处不一致"):
        statistics.recount(CLERK, None, None)
    alarm = LogEntry.objects.get(act="核对统计数字")
    assert (alarm.result, alarm.detail["differences"]) == ("失败", 1)
    assert statistics.recount(CLERK, None, None) == {"message": "统计数字与人员信息一致。"}

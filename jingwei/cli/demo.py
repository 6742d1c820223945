"""`jingwei demo`: synthetic people of the demonstration district, at any size (P-10.4).

Deterministic: person number n is the same in every instance, and on the same day their samples are, too,
however many people are made in one go. Nobody is real: region codes are fictional, telephone numbers stand in
segments that no carrier has.
"""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
from django.core.management import CommandError
from django.db import connection, transaction
from django.utils import timezone

from jingwei.base import codes, wall
from jingwei.base.columns import RESIDENT_ID
from jingwei.base.copying import copy_into
from jingwei.base.fields import personal_fields, seal
from jingwei.base.indexes import drop_indexes, restore_indexes
from jingwei.base.models import ParameterValue
from jingwei.base.partitions import ensure_months
from jingwei.directory import setup
from jingwei.directory.models import Region
from jingwei.kit.idcard import check_digits
from jingwei.people import statistics
from jingwei.people.models import Dose, Person, Transfer
from jingwei.people.sheets import RosterSheet
from jingwei.testing.models import Sample

SEED = 990101
BLOCK = 5_000  # people made and stored at once; a block is the same whatever is made before or after it
MOST = 10_000_000  # beyond it the 500 numbers of each sex on one birthday run out
FILLING = 100_000  # from so many new people on, the indexes are built when all are stored
FILLED = [Person, Sample]
MADE = "demo.people"  # the parameter row that says how many there are
ZONE = "Asia/Shanghai"

BORN_UNTIL = date(2025, 12, 31)
OLDEST = 103  # years
HOUSEHOLDS = {1: 0.18, 2: 0.27, 3: 0.25, 4: 0.16, 5: 0.09, 6: 0.05}

SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林郑谢罗梁宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈"
    "姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤"
)
RARE_SURNAMES = ["欧阳", "上官", "司徒", "诸葛", "令狐", "亓", "乜", "逄", "䶮", "𪩘"]
MALE_GIVEN = "伟强磊军洋勇杰涛超明刚平辉鹏华飞鑫波斌宇浩凯健俊帆帅旭宁龙林建国志文海峰山仁义兴良东松泽轩睿博"
FEMALE_GIVEN = (
    "芳娜敏静丽艳娟霞秀玲桂英兰红梅莉雪琳晶妍茜秋珊莎锦黛青倩婷姣婉娴瑾颖露瑶怡婵雁蓓纨仪荷丹蓉眉君"
)
RARE_GIVEN = ["𬭎", "喆", "堃", "犇", "淼", "赟", "昶", "㛃", "翀", "禤", "𣲗", "頔"]
SEGMENTS = ["142", "143", "154", "160", "161", "163", "164", "168", "169", "179"]
VACCINES = ["科兴", "北京生物", "智飞", "康希诺"]
OTHER_DOCUMENTS = {"414": "E99", "516": "H99", "553": "F99"}  # type: first characters of the number


def add_arguments(parser):
    parser.add_argument("--people", type=int, default=20_000, help=f"演示人口总数，最多 {MOST:,}")


def run(options):
    if not 0 <= options.people <= MOST:
        print(f"人数应在 0 到 {MOST:,} 之间。", file=sys.stderr)
        return 2
    started, before = time.monotonic(), people_made()
    ensure_demo(options.people)
    seconds, people = time.monotonic() - started, people_made() - before
    settle()
    if people:
        print(f"用时 {seconds:.1f} 秒，每秒 {people / seconds:,.0f} 人。")
    return 0


def ensure_base():
    """Everything an instance needs before the first person."""
    setup.ensure_base()
    restore_indexes(FILLED)


def ensure_demo(people=20_000, progress=None):
    """The base, and synthetic people up to `people` in all; those made before stay as they are.

    `progress(done, total)` is told after each block; by default a bar on stdout.
    """
    ensure_base()
    if setup.is_for_real():
        raise CommandError("这是正式实例，不能生成演示人口")
    made = people_made()
    if made >= people:
        return
    progress = progress or draw_bar
    progress(made, people)
    filling = people - made >= max(FILLING, made)
    if filling:
        drop_indexes(FILLED)
    for block, last in _ahead(_blocks(made, people, District.read())):
        store(block, last)
        progress(last, people)
    if filling:
        restore_indexes(FILLED)
    with connection.cursor() as cursor:
        for model in (Person, Dose, Sample, Transfer):
            cursor.execute("SELECT wall_analyze(%s)", [model._meta.db_table])


def _blocks(made, people, district):
    """The blocks that are missing, each with the number of people in all after it. Needs no database."""
    numbering = Numbering()
    for start in range(0, people, BLOCK):
        families = Families.of(start // BLOCK)
        numbers = numbering.next(families)
        if made < start + BLOCK:
            last = min(people, start + BLOCK)
            yield make_block(families, numbers, district).part(max(made, start), last), last


def _ahead(items: Iterator) -> Iterator:
    """The items, each made in another thread while the one before it is used."""
    with ThreadPoolExecutor(1) as making:
        coming = making.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = making.submit(next, items, None)
            yield item


def settle():
    """What is left to do after many people, in no transaction: statistics, the map of visible pages."""
    statistics.refresh()
    with wall.as_owner(), connection.cursor() as cursor:
        cursor.execute("VACUUM people_person")


def people_made() -> int:
    """How many synthetic people were made in this instance, whatever became of them."""
    kept = ParameterValue.objects.filter(name=MADE).first()
    return int(kept.value) if kept else 0


def draw_bar(done, total):
    """A bar on one line of a terminal; elsewhere a line whenever another tenth is done."""
    filled = 30 * done // total
    line = f"演示人口 {'█' * filled}{'░' * (30 - filled)} {done:,}/{total:,}"
    if sys.stdout.isatty():
        print(f"\r{line}", end="\n" if done == total else "", flush=True)
    elif 10 * done // total > 10 * (done - BLOCK) // total:
        print(line, flush=True)


# --- who lives with whom ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Families:
    """A block of people in households, one entry each: which household, which place in it, birthday, sex."""

    block: int
    household: np.ndarray  # number within the block
    place: (
        np.ndarray
    )  # 0 the head, 1 the spouse, then children, from 4 on the older or the youngest generation
    born: np.ndarray  # datetime64[D]
    male: np.ndarray

    @classmethod
    def of(cls, block):
        rng = np.random.default_rng([SEED, block, 0])
        sizes = rng.choice(list(HOUSEHOLDS), size=BLOCK, p=list(HOUSEHOLDS.values()))
        household = np.repeat(np.arange(BLOCK), sizes)[:BLOCK]
        place = np.arange(BLOCK) - np.searchsorted(household, household)
        head = rng.triangular(20, 42, 92, BLOCK)[household]
        gap = rng.uniform(22, 33, BLOCK)  # years between two generations
        # An old head lives with grown-up children and grandchildren, a young one with children and parents.
        old = head > 62
        age = np.select(
            [place == 0, place == 1, place <= 3, old],
            [head, head + rng.normal(0, 3, BLOCK), head - gap, head - 2 * gap + 4],
            default=head + gap,
        )
        days = np.clip(age, 0, OLDEST) * 365.25 + rng.uniform(0, 365, BLOCK)
        born = np.datetime64(BORN_UNTIL) - days.astype(np.int64)
        first = rng.random(BLOCK) < 0.5
        spouse_of = ~first[np.searchsorted(household, household)]
        return cls(block, household, place, born, np.where(place == 1, spouse_of, first))


class Numbering:
    """Resident ID numbers under the fictional prefix 990101, never one twice; to be asked block by block."""

    def __init__(self):
        self.used = np.zeros((366 * (OLDEST + 3), 2), dtype=np.int64)  # by days before BORN_UNTIL, and sex

    def next(self, families) -> pl.Series:
        """The numbers of the next block (GB 11643: birthday, order of which odd is male, check digit)."""
        day = (np.datetime64(BORN_UNTIL) - families.born).astype(np.int64)
        male = families.male.astype(np.int64)
        cell = pl.DataFrame({"cell": day * 2 + male}).with_row_index()
        rank = cell.select((pl.col("index").rank("ordinal").over("cell") - 1).alias("rank"))[
            "rank"
        ].to_numpy()
        order = self.used[day, male] + rank
        np.add.at(self.used, (day, male), 1)
        # 167 and 500 have no common divisor, so that orders on one day differ, and don't simply count up.
        code = 2 * ((order * 167 + day * 37) % 500) + male
        first17 = pl.select(
            pl.lit("990101")
            + pl.Series(families.born).dt.strftime("%Y%m%d")
            + pl.Series(code).cast(pl.String).str.zfill(3)
        ).to_series()
        return first17 + check_digits(first17)


# --- who they are -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class District:
    """The communities people are put into, and the dictionary words they get."""

    codes: pl.Series
    towns: pl.Series
    names: pl.Series
    weights: np.ndarray  # share of all households
    groups: dict[str, str]  # {word of 人群分类: value}

    @classmethod
    def read(cls):
        rows = Region.objects.filter(code__regex=r"^[0-9]{12}$").order_by("code")
        frame = pl.DataFrame(list(rows.values_list("code", "parent__name", "name")), orient="row")
        weights = np.random.default_rng(SEED).lognormal(0, 0.5, len(frame))
        return cls(*frame.get_columns(), weights / weights.sum(), codes.words("人群分类"))


def make_people(families, numbers, district) -> pl.DataFrame:
    """The block as rows of the roster, in clear; `doses` and `samples` say how many of these there are."""
    rng = np.random.default_rng([SEED, families.block, 1])
    home = rng.choice(len(district.codes), BLOCK, p=district.weights)[families.household]
    age = (np.datetime64(BORN_UNTIL) - families.born).astype(np.int64) // 365
    away = rng.random(BLOCK)[families.household] < 0.1  # registered in another community
    origin = np.where(away, rng.integers(len(district.codes), size=BLOCK)[families.household], home)
    occupation = occupations(rng, age)
    people = pl.DataFrame(
        {
            "index": np.arange(BLOCK) + families.block * BLOCK,
            "region": district.codes[home],
            "name": names(rng, families),
            "sex": np.where(families.male, "1", "2"),
            "number": numbers,
            "birth_date": families.born,
            "resident": ~away | (rng.random(BLOCK) < 0.4),
            "tenant": away & (rng.random(BLOCK)[families.household] < 0.8),
            "address": addresses(rng, families, district, home),
            "registered_address": "示例省示例市安澜区" + addresses(rng, families, district, origin),
            "occupation": occupation,
            "group": groups(rng, age, occupation, families.male, district),
            "phone": phones(rng, age),
            "doses": doses_of(rng, families.born, age),
            "samples": rng.choice(5, BLOCK, p=[0.34, 0.26, 0.2, 0.12, 0.08]),
            "days_known": rng.integers(1, 400, BLOCK),  # since when the register knows them
            "came_from": pl.Series(district.codes[rng.integers(len(district.codes), size=BLOCK)]),
            "moved": rng.random(BLOCK) < 0.004,
            "town": district.towns[home],
            "village": district.names[home],
        }
    )
    same_home = pl.Series(origin == home)
    people = people.with_columns(
        registered_address=pl.when(same_home)
        .then("示例省示例市安澜区" + pl.col("address"))
        .otherwise("registered_address")
    )
    return with_other_documents(rng, people)


def with_other_documents(rng, people) -> pl.DataFrame:
    """A few people have a passport or a permit instead of the resident ID card."""
    drawn = pl.Series(rng.choice([RESIDENT_ID, *OTHER_DOCUMENTS], BLOCK, p=[0.985, 0.006, 0.005, 0.004]))
    prefix = drawn.replace_strict(OTHER_DOCUMENTS, default=None, return_dtype=pl.String)
    return people.with_columns(
        doc_type=drawn,
        number=pl.coalesce(prefix + pl.col("index").cast(pl.String).str.zfill(8), "number"),
    )


def names(rng, families) -> pl.Series:
    """Surnames run in the household, but for spouse and the spouse's parents; some characters are rare."""
    # The front of the list is frequent, the tail is not.
    rank = np.minimum(rng.exponential(22, (2, BLOCK)).astype(int), len(SURNAMES) - 1)
    common = np.array(list(SURNAMES))[rank]
    surname = np.where(rng.random((2, BLOCK)) < 0.005, rng.choice(RARE_SURNAMES, (2, BLOCK)), common)
    of_house = surname[0][families.household]
    last = np.where((families.place == 1) | (families.place == 5), surname[1], of_house)
    male, female, rare = np.array(list(MALE_GIVEN)), np.array(list(FEMALE_GIVEN)), np.array(RARE_GIVEN)
    given = np.where(families.male, rng.choice(male, (2, BLOCK)), rng.choice(female, (2, BLOCK)))
    given = np.where(rng.random((2, BLOCK)) < 0.004, rng.choice(rare, (2, BLOCK)), given)
    second = np.where(rng.random(BLOCK) < 0.7, given[1], "")
    return pl.select(pl.concat_str(pl.Series(last), pl.Series(given[0]), pl.Series(second))).to_series()


def addresses(rng, families, district, home) -> pl.Series:
    """上埔社区12号3栋402室 in a community, 下洋村19号 in a village; one per household."""
    house, block, floor, flat = (
        pl.Series(rng.integers(1, high + 1, BLOCK)[families.household]).cast(pl.String)
        for high in (199, 20, 28, 4)
    )
    named = pl.DataFrame({"town": district.towns[home], "name": district.names[home]}).with_columns(
        house=house, block=block, flat=floor + "0" + flat
    )
    return named.select(
        pl.when(pl.col("name").str.ends_with("社区"))
        .then(pl.format("{}{}{}号{}栋{}室", "town", "name", "house", "block", "flat"))
        .otherwise(pl.format("{}{}{}号{}", "town", "name", "house", pl.format("之{}", "block")))
    ).to_series()


WORK = {
    "企业职工": 30, "个体经营": 14, "务农": 13, "无业": 7, "其他": 6, "建筑工人": 4, "餐饮服务人员": 4,
    "教师": 4, "公务员": 3, "医务人员": 3, "保安": 2, "家政服务人员": 2, "装卸搬运人员": 1, "外卖骑手": 1.5,
    "快递员": 1.5, "货车司机": 1.6, "网约车司机": 1, "客车司机": 0.4, "出租车司机": 0.5, "冷链从业人员": 0.6,
    "船员": 0.5, "航空机组人员": 0.1, "铁路乘务人员": 0.3,
}  # fmt: skip


def occupations(rng, age):
    """What one works as at one's age; small children nothing."""
    share = np.array(list(WORK.values()))
    work = rng.choice(list(WORK), BLOCK, p=share / share.sum())
    retired = np.where(rng.random(BLOCK) < 0.65, "退休", "务农")
    return np.select([age < 3, age < 19, age >= 62], ["", "学生", retired], default=work)


def groups(rng, age, occupation, male, district):
    """Values of 人群分类 that fit age and occupation."""
    rare = rng.random(BLOCK)
    crossing = np.isin(occupation, ["货车司机", "客车司机", "快递员", "冷链从业人员", "船员"])
    expecting = ~male & (age >= 22) & (age < 40) & (rare > 0.97)
    word = np.select(
        [
            age < 3,
            rare < 0.02,
            age >= 60,
            occupation == "学生",
            occupation == "医务人员",
            crossing,
            expecting,
        ],
        ["婴幼儿", "残疾人", "老年人", "学生", "医护人员", "重点行业从业人员", "孕产妇"],
        default="普通人群",
    )
    return pl.Series(word).replace_strict(district.groups, default="", return_dtype=pl.String)


def phones(rng, age):
    """One's own number; small children and some of the old have none."""
    number = rng.integers(0, 100_000_000, BLOCK)
    segment = pl.Series(rng.choice(SEGMENTS, BLOCK))
    without = (age < 8) | ((age > 75) & (rng.random(BLOCK) < 0.2))
    return pl.select(
        pl.when(~pl.Series(without)).then(segment + pl.Series(number).cast(pl.String).str.zfill(8))
    ).to_series()


def doses_of(rng, born, age):
    """0 to 3 doses in 2021 and 2022; the very old less often, who was not three years old by then never."""
    drawn = rng.random(BLOCK)
    usual = np.searchsorted([0.07, 0.11, 0.37], drawn)
    return np.select(
        [born > np.datetime64("2018-01-01"), age >= 84], [0, np.searchsorted([0.28, 0.36, 0.6], drawn)], usual
    )


# --- what happened to them --------------------------------------------------------------------------------


def make_doses(rng, people) -> pl.DataFrame:
    """Each person's doses, in the order of person and dose."""
    each = people.select("index", "town", "doses").with_columns(
        first=pl.Series(np.datetime64("2021-03-01") + rng.integers(0, 240, BLOCK)),
        second=pl.Series(rng.integers(21, 60, BLOCK)),
        third=pl.Series(rng.integers(180, 270, BLOCK)),
        clinic=pl.col("town") + pl.Series(rng.choice(["社区卫生服务中心", "卫生院"], BLOCK)),
        vaccine=pl.Series(rng.choice(VACCINES, BLOCK)),
    )
    wait = pl.when(dose=1).then(0).when(dose=2).then("second").otherwise(pl.col("second") + pl.col("third"))
    return (
        each.with_columns(dose=pl.int_ranges(1, pl.col("doses") + 1))
        .explode("dose", empty_as_null=False)
        .select("index", "dose", "vaccine", on=pl.col("first") + pl.duration(days=wait), unit="clinic")
    )


def make_samples(rng, people, now) -> pl.DataFrame:
    """Each person's samples of the last 20 days, one in a span of five days, the latest first."""
    spans = np.argsort(rng.random((BLOCK, 4)), axis=1)
    days = 1 + spans * 5 + rng.integers(0, 5, (BLOCK, 4))
    minutes = rng.integers(7 * 60, 20 * 60, (BLOCK, 4))
    midnight = datetime.combine(now, datetime.min.time())
    each = people.select(
        "index",
        "samples",
        "name",
        point=pl.col("town") + pl.col("village") + "采样点",
        day=pl.Series(days, dtype=pl.List(pl.Int64)),
        minute=pl.Series(minutes, dtype=pl.List(pl.Int64)),
        institution=pl.Series(rng.choice(["安澜检验所", "安澜区疾病预防控制中心"], BLOCK)),
        result=pl.Series(rng.choice(["阴性", "阳性"], BLOCK, p=[0.9995, 0.0005])),
    )
    sampled_at = pl.lit(midnight) - pl.duration(days="day") + pl.duration(minutes="minute")
    result_at = pl.col("sampled_at") + timedelta(hours=10)
    return (
        each.with_columns(pl.col("day").list.head("samples"), pl.col("minute").list.head("samples"))
        .explode("day", "minute", empty_as_null=False)
        .with_columns(sampled_at=sampled_at.dt.replace_time_zone(ZONE))
        .with_columns(result_at=pl.when(result_at <= now).then(result_at))
        .with_columns(result=pl.when(pl.col("result_at").is_null()).then(pl.lit("待出")).otherwise("result"))
        .sort("index", "sampled_at", descending=[False, True])
        .drop("samples", "day", "minute")
    )


@dataclass(frozen=True)
class Block:
    """A block as it will be stored, sealed; `index` tells which person of all a row belongs to."""

    people: pl.DataFrame
    doses: pl.DataFrame
    samples: pl.DataFrame

    def part(self, first, last):
        """The people numbered from `first` to before `last`, and what is theirs."""
        wanted = pl.col("index").is_between(first, last, closed="left")
        return Block(self.people.filter(wanted), self.doses.filter(wanted), self.samples.filter(wanted))


def make_block(families, numbers, district) -> Block:
    """Everything about the people of a block."""
    people = make_people(families, numbers, district)
    rng = np.random.default_rng([SEED, families.block, 2])
    now = timezone.localtime()
    doses, samples = make_doses(rng, people), make_samples(rng, people, now)
    known = (pl.lit(now) - pl.duration(days="days_known")).dt.convert_time_zone(ZONE)
    last_dose = doses.group_by("index").last().select("index", "dose", dose_on="on", dose_unit="unit")
    last_sample = (
        samples.group_by("index")
        .first()
        .select("index", "sampled_at", sample_result="result", sample_point="point")
    )
    people = (
        people.with_columns(version=1, created_at=known, updated_at=known)
        .join(last_dose, "index", "left", maintain_order="left")
        .join(last_sample, "index", "left", maintain_order="left")
        .with_columns(pl.col("dose_unit", "sample_result", "sample_point").fill_null(""))
    )
    people = people.with_columns(RosterSheet().derive(people))
    people = people.with_columns(
        pl.Series(field.name, seal(field.sealing, people[field.name].to_list()), dtype=pl.Binary)
        for field in personal_fields(Person)
    )
    return Block(people, doses, samples)


@transaction.atomic
def store(block, last):
    """Store the people of a block, and that `last` are made in all."""
    now = timezone.localtime()
    sealed = block.people.with_columns(id=new_ids(Person, len(block.people)))
    doses, samples = block.doses, block.samples
    key = sealed.select("index", "number", "region", "created_at", person_id="id")
    copy_into(
        "people_person",
        sealed.select(
            field.name for field in Person._meta.concrete_fields if field.name != "created_by"
        ).rename({"region": "region_id"}),
    )
    copy_into(
        "people_dose",
        doses.join(key, "index").select(
            "person_id", "dose", "vaccine", "on", "unit", "created_at", updated_at="created_at", version=1
        ),
    )
    moved = sealed.filter(pl.col("moved") & (pl.col("came_from") != pl.col("region")))
    copy_into(
        "people_transfer",
        moved.select(
            person_id="id",
            from_region_id="came_from",
            to_region_id="region",
            at=pl.col("created_at") + (pl.lit(now) - pl.col("created_at")) / 2,
            by_name=pl.lit("演示数据"),
            reason=pl.lit("搬家"),
        ),
    )
    if len(samples):
        ensure_months("testing_sample", samples["sampled_at"].min(), samples["sampled_at"].max())
        copy_into(
            "testing_sample",
            samples.join(key, "index").select(
                "number",
                "sampled_at",
                "point",
                "region",
                "name",
                "institution",
                "result",
                "result_at",
                received_at=pl.lit(now),
            ),
        )
    ParameterValue.objects.update_or_create(name=MADE, defaults={"value": str(last)})


def new_ids(model, number) -> pl.Series:
    """Keys for rows that are written by COPY."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)",
            [model._meta.db_table, number],
        )
        return pl.Series([key for (key,) in cursor.fetchall()])

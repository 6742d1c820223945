"""Synthetic source sheets of any size; the same seed gives the same file."""

import numpy as np
import polars as pl
import xlsxwriter

from jingwei.directory.models import Region
from jingwei.kit.idcard import check_digits

HEADINGS = [
    *(
        "序号",
        "乡镇(街道)",
        "村/社区",
        "姓名",
        "性别",
        "证件类型",
        "身份证号码",
        "是否常住",
        "户籍地址",
        "现居住地址",
    ),
    *("是否租户", "工作单位/从业情况", "人群类别", "联系方式", "备注"),
]
SURNAMES = list("王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林郑")
GIVEN = list("伟芳娜敏静丽强磊军洋勇艳杰涛明超秀霞平刚桂英然诺轩宇")
OCCUPATIONS = [
    "企业职工",
    "务农",
    "个体经营",
    "学生",
    "教师",
    "退休",
    "无业",
    "快递员",
    "货车司机",
    "医务人员",
]
GROUPS = ["普通人群", "老年人", "学生", "残疾人", "医护人员", "孕产妇"]


def roster(count: int, seed: int = 1) -> list[list[str]]:
    """Rows of a survey roster, one per person."""
    rng = np.random.default_rng(seed)
    names = dict(Region.objects.values_list("code", "name"))
    villages = np.array([code for code in names if len(code) == 12])

    def some(choices):
        return np.array(choices)[rng.integers(len(choices), size=count)]

    # Every person another number: the day and the order together never repeat.
    order = rng.permutation(25_000 * 1000)[:count]
    days = pl.Series(np.datetime64("1950-01-01") + order // 1000).dt.strftime("%Y%m%d")
    first17 = "990101" + days + pl.Series(order % 1000).cast(pl.String).str.zfill(3)
    code = some(villages)
    village = [names[one] for one in code]
    town = [names[one[:9]] for one in code]
    house, block, flat, registered = (rng.integers(1, most, size=count) for most in (99, 9, 1999, 200))
    phones = pl.Series(16_000_000_000 + rng.integers(999_999_999, size=count)).cast(pl.String)
    columns = [
        map(str, range(1, count + 1)),
        town,
        village,
        map("".join, zip(some(SURNAMES), some(GIVEN), some(GIVEN), strict=True)),
        np.where(order % 2 == 1, "男", "女"),
        ["居民身份证"] * count,
        first17 + check_digits(first17),
        some(["是", "否"]),
        [f"示例省示例市安澜区{t}{v}{n}号" for t, v, n in zip(town, village, registered, strict=True)],
        [f"{t}{v}{h}号{b}栋{f}室" for t, v, h, b, f in zip(town, village, house, block, flat, strict=True)],
        some(["是", "否"]),
        some(OCCUPATIONS),
        some(GROUPS),
        phones,
        [""] * count,
    ]
    return [list(map(str, row)) for row in zip(*columns, strict=True)]


def write_xlsx(path, headings, rows):
    """Rows of text as a workbook."""
    with xlsxwriter.Workbook(path, {"constant_memory": True}) as book:
        page = book.add_worksheet("摸排表")
        page.write_row(0, 0, headings)
        for number, row in enumerate(rows, start=1):
            for place, cell in enumerate(row):
                if cell:
                    page.write_string(number, place, cell)

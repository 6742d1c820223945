"""Column types clean a whole column at once: good cells become values, bad ones a reason."""

from datetime import datetime

import polars as pl
import pytest

from jingwei.base import columns
from jingwei.base.access import platform_actor
from jingwei.base.columns import Context

pytestmark = pytest.mark.req("CL-6.2")


def clean(column_type, *cells, **others):
    """(values, errors) of a column; `others` are the raw columns beside it."""
    raw = pl.DataFrame({"cell": pl.Series(cells, dtype=pl.String)} | others)
    context = Context(platform_actor("测试"), "people.import", datetime(2026, 11, 20, 12), raw=raw)
    cleaned = column_type.clean(raw["cell"], context)
    return cleaned.values.to_list(), cleaned.errors.to_list()


def test_whole_numbers_may_come_as_decimals_and_keep_their_bounds():
    values, errors = clean(columns.Whole(1, 9), "3", "３", "3.0", None, "10", "3.5", "三")
    assert values[:4] == [3, 3, 3, None]
    assert errors == [None] * 4 + ["应为 1 到 9 之间的整数"] * 3


def test_a_number_is_finite():
    values, errors = clean(columns.Number(), "1.5", " 2 ", None, "inf", "nan", "1,5")
    assert values == [1.5, 2.0, None, None, None, None]
    assert errors == [None] * 3 + ["应为数字"] * 3


def test_a_choice_is_given_by_its_value_or_its_label():
    values, errors = clean(columns.Choice((("a", "甲"), ("b", "乙"))), "甲", "b", None, "丙")
    assert (values, errors) == (["a", "b", None, None], [None, None, None, "应为甲、乙之一"])


def test_a_text_that_is_too_long_is_refused_and_a_rare_character_is_one():
    values, errors = clean(columns.Text(2), "𬭎䶮", "一二三", None)
    assert values[0] == "𬭎䶮"
    assert errors == [None, "最多 2 个字，请缩短", None]


@pytest.mark.django_db
def test_a_word_is_known_by_label_value_and_synonym():
    values, errors = clean(columns.Code("证件类型"), "居民身份证", "111", "二代证", None, "会员卡")
    assert values == ["111", "111", "111", None, None]
    assert errors[4] == "不在字典“证件类型”中，请从下拉列表中选择"


@pytest.mark.django_db
@pytest.mark.req("CL-3.2")
def test_a_missing_document_type_is_told_by_the_number():
    numbers = pl.Series(
        ["990101199003070023", "990101900307002", "９９０１０１199003070023", "E12345678", None]
    )
    values, _ = clean(columns.DocType(), None, "", None, None, None, number=numbers)
    assert values == ["111", "111", "111", None, None]

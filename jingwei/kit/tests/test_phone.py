import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jingwei.kit.phone import clean_phones

pytestmark = pytest.mark.req("CL-6.2")


def clean(text):
    cleaned = clean_phones(pl.Series([text], dtype=pl.String))
    return cleaned.values[0], [name for name, hit in cleaned.rules.items() if hit[0]]


@pytest.mark.parametrize(
    ("typed", "phone", "rules"),
    [
        ("13812345678", "13812345678", []),
        ("13760004799.0", "13760004799", []),
        (" 13812345678", "13812345678", ["trim/width"]),
        ("１３８１２３４５６７８", "13812345678", ["trim/width"]),
        ("139-9999-9999", "13999999999", ["phone format"]),
        ("+86 13999999999", "13999999999", ["phone format"]),
        ("8613812345678", "13812345678", ["phone format"]),
        ("0086-138.1234.5678", "13812345678", ["phone format"]),
        ("0591-12345678", "0591-12345678", []),
        ("059112345678", "0591-12345678", ["phone format"]),
        ("（010）8765 4321", "010-87654321", ["trim/width", "phone format"]),
        ("+86 591 87654321", "0591-87654321", ["phone format"]),
        ("+86-10-87654321", "010-87654321", ["phone format"]),
        ("0591-87654321-801", "0591-87654321-801", []),
        ("0591-87654321转801", "0591-87654321-801", ["phone format"]),
        (None, None, []),
    ],
)
def test_phones_get_one_form(typed, phone, rules):
    assert clean(typed) == (phone, rules)


@pytest.mark.parametrize(
    "typed", ["12345", "1381234567", "12812345678", "87654321", "1.38e+10", "无", "138１234567x"]
)
def test_what_is_no_phone_is_told(typed):
    assert clean_phones(pl.Series([typed])).errors.to_list() == [
        "不是有效的电话号码，应为 11 位手机号或带区号的座机"
    ]


@given(st.lists(st.text(st.sampled_from("0123456789+-() .转") | st.characters(codec="utf-8")) | st.none()))
def test_cleaning_twice_changes_nothing_more(texts):
    once = clean_phones(pl.Series(texts, dtype=pl.String)).values
    twice = clean_phones(once)
    assert twice.values.to_list() == once.to_list()
    assert not twice.rules["phone format"].any()

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jingwei.kit.text import fold, mask_address, mask_number, mask_phone, mask_text, tidy


@pytest.mark.req("CL-6.2")
@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (" 曾杰\u3000", "曾杰"),
        ("９９０１Ｘ", "9901X"),
        ("下洋村（北）", "下洋村(北)"),
        ("\ufeff林\u200b然\u202e", "林然"),
        ("a\x00b\x1f", "ab"),
        ("19号\xa0\t 2栋\n", "19号 2栋"),
    ],
)
def test_text_is_trimmed_and_narrowed(typed, kept):
    cleaned = tidy(pl.Series([typed]))
    assert cleaned.values[0] == kept
    assert cleaned.rules["trim/width"].to_list() == [True]


@pytest.mark.req("SEC-12")
@pytest.mark.parametrize("name", ["李𬭎", "王䶮", "陈\ue5e5", "葛\U000e0100城", "金\uf90a", "张、李。《王》"])
def test_rare_characters_stay_exactly(name):
    cleaned = tidy(pl.Series([name, " x"]))
    assert cleaned.values[0] == name
    assert not cleaned.rules["trim/width"][0]


def test_a_cell_of_white_space_is_empty_and_not_corrected():
    cleaned = tidy(pl.Series(["\u3000 \u200b", "", None]))
    assert cleaned.values.to_list() == [None] * 3
    assert not cleaned.rules["trim/width"].any()


@given(st.lists(st.text() | st.none()))
def test_tidying_twice_changes_nothing_more(texts):
    once = tidy(pl.Series(texts, dtype=pl.String)).values
    assert tidy(once).values.to_list() == once.to_list()


def test_a_folded_text_has_no_case_and_no_spaces():
    assert fold(pl.Series([" 金湾镇 下洋村 Ａ座"]))[0] == "金湾镇下洋村a座"


@pytest.mark.req("P-4.3")
@pytest.mark.parametrize(
    ("mask", "clear", "shown"),
    [
        (mask_number, "35018219900101123X", "350182********123X"),
        (mask_number, "E12345678", "E1*****78"),
        (mask_number, "A12345", "A****5"),
        (mask_number, "1234", "****"),
        (mask_phone, "13812345678", "138****5678"),
        (mask_phone, "0591-12345678", "0591-****5678"),
        (mask_phone, "12345", "*****"),
        (mask_address, "金湾镇下洋村19号2栋1204室", "金湾镇下洋村****"),
        (mask_address, "19号2栋", "19****"),
        (mask_text, "王小明", "王**"),
        (mask_text, "王", "**"),
    ],
)
def test_a_mask_leaves_what_the_owner_recognises(mask, clear, shown):
    assert mask(clear) == shown

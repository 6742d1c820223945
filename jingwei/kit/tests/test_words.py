import polars as pl
import pytest

from jingwei.kit.words import clean_dose, clean_result, clean_sex, clean_yes_no

pytestmark = pytest.mark.req("CL-6.2")


def values(function, words):
    return function(pl.Series(words, dtype=pl.String)).values.to_list()


def test_yes_and_no_have_many_words():
    assert values(clean_yes_no, ["是", "√", "✔", "有", "1", "Ｙ", "TRUE", " 对 "]) == [True] * 8
    assert values(clean_yes_no, ["否", "×", "无", "0", "n", "False", "X"]) == [False] * 7


def test_sexes_become_codes_and_synonyms_are_counted():
    words = ["男", "女", " 男", "女性", "M", "2", "未知", "9", None, "甲"]
    cleaned = clean_sex(pl.Series(words))
    assert cleaned.values.to_list() == ["1", "2", "1", "2", "1", "2", "0", "9", None, None]
    assert cleaned.rules["sex by synonym"].to_list() == [False] * 3 + [True] * 5 + [False] * 2
    assert cleaned.rules["trim/width"].to_list() == [False] * 2 + [True] + [False] * 7


def test_results_have_synonyms():
    assert values(clean_result, ["阴性", "阴", "阴性(-)", "阴性（－）", "-", "Negative"]) == ["阴性"] * 6
    assert values(clean_result, ["阳性", "阳", "阳性(+)", "+"]) == ["阳性"] * 4
    assert values(clean_result, ["可疑", "检测中"]) == ["可疑", "待出"]


def test_doses_are_numbers_in_words():
    assert values(clean_dose, ["1", "2.0", "第1针", "第二剂", "３", "第四针次", "九"]) == [
        1,
        2,
        1,
        2,
        3,
        4,
        9,
    ]


@pytest.mark.parametrize(
    ("function", "word"),
    [
        (clean_yes_no, "也许"),
        (clean_sex, "男女"),
        (clean_result, "合格"),
        (clean_dose, "加强"),
        (clean_dose, "10"),
        (clean_dose, "0"),
    ],
)
def test_an_unknown_word_is_refused_in_words(function, word):
    cleaned = function(pl.Series([word, None]))
    assert cleaned.values.to_list() == [None, None]
    assert "请填" in cleaned.errors[0]
    assert cleaned.errors[1] is None

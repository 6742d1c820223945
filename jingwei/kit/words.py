"""Columns of a few words: yes and no, sexes, test results, doses, by their synonyms (CL-6.2)."""

import polars as pl

from jingwei.kit.column import Cleaned
from jingwei.kit.text import tidy

_YES_NO = {
    **dict.fromkeys("是 有 对 真 √ ✓ ✔ ☑ 1 y yes t true".split(), True),
    **dict.fromkeys("否 无 不是 没有 错 假 × ✕ ✖ ✗ ✘ ☒ x 0 n no f false".split(), False),
}

# GB/T 2261.1-2003
SEXES = {"0": "未知的性别", "1": "男", "2": "女", "9": "未说明的性别"}
_SEXES = {
    **dict.fromkeys(["1", "男", "男性", "男士", "m", "male"], "1"),
    **dict.fromkeys(["2", "女", "女性", "女士", "f", "female"], "2"),
    **dict.fromkeys(["0", "未知", "未知的性别", "不详"], "0"),
    **dict.fromkeys(["9", "未说明", "未说明的性别"], "9"),
}

RESULTS = ["阴性", "阳性", "可疑", "待出"]
_RESULTS = {
    **dict.fromkeys(["阴性", "阴", "阴性(-)", "(-)", "-", "negative", "neg", "未检出"], "阴性"),
    **dict.fromkeys(["阳性", "阳", "阳性(+)", "(+)", "+", "positive", "pos", "检出"], "阳性"),
    **dict.fromkeys(["可疑", "疑似", "疑似阳性", "弱阳性", "灰区", "±", "(±)"], "可疑"),
    **dict.fromkeys(["待出", "待检", "待测", "检测中", "待出结果", "结果待出", "未出结果", "未出"], "待出"),
}

_DOSES = {
    f"{before}{digit}{after}": number
    for number, digits in enumerate(["1一", "2二", "3三", "4四", "5五", "6六", "7七", "8八", "9九"], start=1)
    for digit in digits
    for before in ["", "第"]
    for after in ["", ".0", "针", "剂", "剂次", "针次", "次"]
}


def clean_yes_no(raw: pl.Series) -> Cleaned:
    """是/否, 有/无, √/×, 1/0, Y/N and the like → Boolean. Rule: ``trim/width``."""
    return _translate(raw, _YES_NO, pl.Boolean, "请填“是”或“否”")


def clean_sex(raw: pl.Series) -> Cleaned:
    """Words and codes → codes of GB/T 2261.1 (`SEXES`).

    Rules: ``trim/width``; ``sex by synonym`` for every word but 男 and 女.
    """
    cleaned = _translate(raw, _SEXES, pl.String, "请填“男”或“女”")
    exact = tidy(raw).values.is_in(["男", "女"]).fill_null(False)
    cleaned.rules["sex by synonym"] = cleaned.values.is_not_null() & ~exact
    return cleaned


def clean_result(raw: pl.Series) -> Cleaned:
    """Results of a nucleic acid test → one of `RESULTS`. Rule: ``trim/width``."""
    return _translate(raw, _RESULTS, pl.String, "不认识的检测结果，请填“阴性”“阳性”“可疑”或“待出”")


def clean_dose(raw: pl.Series) -> Cleaned:
    """Dose numbers 1–9 (2, 第2针, 第二剂…) → Int16; a word without a number (加强) is refused.

    Rule: ``trim/width``.
    """
    return _translate(raw, _DOSES, pl.Int16, "不认识的针次，请填 1 至 9 的数字或“第一针”的样子")


def _translate(raw, words, dtype, refusal):
    tidied = tidy(raw)
    asked = tidied.values.str.to_lowercase().str.replace_all(" ", "", literal=True)
    values = asked.replace_strict(words, default=None, return_dtype=dtype)
    unknown = asked.is_not_null() & values.is_null()
    errors = pl.select(pl.when(unknown).then(pl.lit(refusal))).to_series()
    return Cleaned(values, errors, {name: applied & ~unknown for name, applied in tidied.rules.items()})

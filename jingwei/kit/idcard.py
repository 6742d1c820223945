"""Document numbers: ID cards by GB 11643-1999 (check digit ISO 7064 MOD 11-2), others by their shape."""

from datetime import date

import numpy as np
import polars as pl

from jingwei.kit.column import Cleaned
from jingwei.kit.dates import civil_days
from jingwei.kit.text import TIDIED, tidy

# Codes of GA/T 517-2004. It is older than the residence permit for people from Hong Kong, Macao and Taiwan
# and has no code for it: 811 is our own, after the 81–83 with which these numbers begin.
DOC_TYPES = {
    "111": "居民身份证",
    "112": "临时居民身份证",
    "113": "户口簿",
    "114": "军官证",
    "117": "出生医学证明",
    "414": "护照",
    "511": "台湾居民来往大陆通行证",
    "516": "港澳居民来往内地通行证",
    "553": "外国人永久居留身份证",
    "811": "港澳台居民居住证",
    "990": "其他证件",
}
SYNONYMS = {
    "111": ["身份证", "二代证", "二代身份证", "第二代居民身份证", "中国居民身份证", "公民身份证"],
    "112": ["临时身份证"],
    "113": ["户口本"],
    "114": ["解放军军官证", "中国人民解放军军官证"],
    "117": ["出生证", "出生证明"],
    "414": ["普通护照", "中国护照", "外国护照"],
    "511": ["台胞证", "台湾通行证", "台湾居民往来大陆通行证"],
    "516": ["回乡证", "港澳通行证", "港澳同胞回乡证", "港澳居民往来内地通行证"],
    "553": ["外国人永久居留证", "永久居留证", "永居证"],
    "811": ["港澳居民居住证", "台湾居民居住证", "港澳台居住证", "居住证"],
    "990": ["其他", "其它", "其它证件", "其他有效证件"],
}
_CODES = {word: code for code, label in DOC_TYPES.items() for word in [code, label, *SYNONYMS[code]]}
# These carry a citizen number, with check digit, birth date and sex.
_CITIZEN = ["111", "112", "811"]

_WEIGHTS = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]
_CHECKS = pl.Series(list("10X98765432"))
_SHAPE_18 = r"^[1-9][0-9]{16}[0-9X]$"
_SHAPE_15 = r"^[1-9][0-9]{14}$"
_SHAPE_OTHER = r"^[A-Z0-9()-]{5,30}$"


def clean_doc_types(raw: pl.Series) -> Cleaned:
    """Names and synonyms of document types → codes of GA/T 517 (`DOC_TYPES`). Rule: ``trim/width``."""
    tidied = tidy(raw)
    codes = tidied.values.replace_strict(_CODES, default=None, return_dtype=pl.String)
    unknown = tidied.values.is_not_null() & codes.is_null()
    errors = pl.select(
        pl.when(unknown).then(pl.lit("不认识的证件类型，请填“居民身份证”“护照”等，或从下拉列表中选择"))
    ).to_series()
    return Cleaned(codes, errors, {name: applied & ~unknown for name, applied in tidied.rules.items()})


def clean_numbers(raw: pl.Series, doc_types: pl.Series, *, today: date) -> Cleaned:
    """Document numbers beside the codes of their types (`DOC_TYPES`; null: whatever the number looks like).

    ID cards and residence permits come out with 18 characters, a correct check digit and a birth date up to
    `today`; 15 digits get the century 19 and the check digit. Other numbers come out in capitals, 5–30 of
    ``A-Z 0-9 ( ) -``. Refused besides: an empty cell, and a number of which a sheet kept 15 digits only.
    Rules: ``trim/width``, ``15-digit id``, ``lower x``.
    """
    # A whole number of a sheet that was saved as a decimal; an apostrophe is how people force text.
    plain = tidy(raw).values.str.replace_all(r"[\s'`]", "").str.replace(r"^([0-9]+)\.0$", "$1")
    number, typed, citizen = pl.col("number"), pl.col("doc_type"), pl.col("citizen")
    frame = (
        pl.DataFrame([plain.str.to_uppercase().alias("number"), doc_types.alias("doc_type")])
        .with_columns(long=number.str.contains(_SHAPE_18), short=number.str.contains(_SHAPE_15))
        .with_columns(citizen=typed.is_in(_CITIZEN) | (typed.is_null() & (pl.col("long") | pl.col("short"))))
        .with_columns(citizen.fill_null(False))
        .with_columns(pl.col("long", "short").fill_null(False) & citizen)
    )
    first17 = frame.select(
        pl.when("long")
        .then(number.str.head(17))
        .when("short")
        .then(number.str.head(6) + "19" + number.str.tail(9))
    ).to_series()
    checks, births = _checks_and_births(first17)
    frame = frame.with_columns(check=checks, birth=births).with_columns(
        number=pl.when("short").then(first17 + checks).otherwise(number)
    )
    fine = frame.select(
        pl.when(pl.col("long") | pl.col("short"))
        .then((pl.col("birth") <= today) & (number.str.tail(1) == pl.col("check")))
        .otherwise(~citizen & number.str.contains(_SHAPE_OTHER))
        .fill_null(False)
    ).to_series()
    errors = pl.repeat(None, len(raw), dtype=pl.String, eager=True)
    if not fine.all():
        errors = errors.scatter((~fine).arg_true(), _reasons(frame.filter(~fine), today))
    return Cleaned(
        values=frame.select(pl.when(fine).then(number)).to_series(),
        errors=errors,
        rules={
            TIDIED: (plain != raw.str.strip_suffix(".0")).fill_null(False) & fine,
            "15-digit id": frame["short"] & fine,
            "lower x": frame["long"] & plain.str.ends_with("x").fill_null(False) & fine,
        },
    )


def _reasons(refused, today):
    number = pl.col("number")
    numbered = pl.col("long") | pl.col("short")
    reason = (
        pl.when(number.is_null())
        .then(pl.lit("证件号为空，请填写"))
        .when(number.str.contains(r"^[0-9](\.[0-9]+)?E\+[0-9]+$"))
        .then(pl.lit("证件号被存成了数字，末几位已丢失；请把该列设为文本格式后重新填写"))
        .when(~pl.col("citizen"))
        .then(pl.lit("证件号应为 5 至 30 位的字母、数字、括号或横线"))
        .when(~numbered & number.str.contains(r"^[0-9X]+$"))
        .then(pl.format("身份证号应为 18 位，这里是 {} 位", number.str.len_chars()))
        .when(~numbered)
        .then(pl.lit("身份证号只能有数字，末位可以是 X；共 18 位"))
        .when(pl.col("birth").is_null())
        .then(pl.lit("证件号中的出生日期不存在，请核对第 7 至 14 位"))
        .when(pl.col("birth") > today)
        .then(pl.lit("证件号中的出生日期晚于今天，请核对第 7 至 14 位"))
        # 15 significant digits is what a spreadsheet keeps of a number.
        .when(number.str.ends_with("000"))
        .then(pl.lit("证件号末三位变成了 000，像是被存成过数字；请把该列设为文本格式后重新填写"))
        .otherwise(pl.format("校验位应为 {}，请核对整个号码", "check"))
    )
    return refused.select(reason).to_series()


def check_digits(first17: pl.Series) -> pl.Series:
    """The 18th character (ISO 7064 MOD 11-2) for strings of 17 digits; null stays null."""
    return _checks_and_births(first17)[0]


def birth_dates(numbers: pl.Series) -> pl.Series:
    """pl.Date from cleaned numbers of 18 characters; null where a number says none (CL-3.2)."""
    return _checks_and_births(numbers.str.extract(r"^([1-9][0-9]{16})[0-9X]$"))[1]


def sexes(numbers: pl.Series) -> pl.Series:
    """Codes of GB/T 2261.1 ("1" male, "2" female) from numbers of 18 characters, else null (CL-3.2)."""
    order = numbers.str.extract(r"^[1-9][0-9]{15}([0-9])[0-9X]$").cast(pl.Int8)
    return (2 - order % 2).cast(pl.String)


def age_on(births: pl.Series, day: date) -> pl.Series:
    """Completed years on this day (周岁; the birthday itself counts) for a pl.Date series."""
    month_and_day = births.dt.month().cast(pl.Int32) * 100 + births.dt.day()
    return day.year - births.dt.year() - (month_and_day > day.month * 100 + day.day).cast(pl.Int32)


def _checks_and_births(first17):
    """Check digits and birth dates of strings of 17 digits; null for null and for a day that never was."""
    joined = "".join(first17.drop_nulls().to_list()).encode("ascii")
    # One row per place, so that each step runs over all numbers at once in little memory.
    digits = np.ascontiguousarray((np.frombuffer(joined, np.uint8).reshape(-1, 17) - ord("0")).T)
    total = sum(digits[place].astype(np.int32) * weight for place, weight in enumerate(_WEIGHTS))
    year, month, day = (_number(digits[part]) for part in [slice(6, 10), slice(10, 12), slice(12, 14)])
    days, valid = civil_days(year, month, day)
    days[~valid | (year < 1900)] = np.datetime64("NaT")
    return _spread(_CHECKS.gather(total % 11), first17), _spread(pl.Series(days), first17)


def _number(digits):
    """The numbers that rows of decimal places make, most significant first."""
    number = np.zeros(digits.shape[1], np.int64)
    for place in digits:
        number = number * 10 + place
    return number


def _spread(values, like):
    """The values in the non-null places of `like`, null elsewhere."""
    nothing = pl.repeat(None, len(like), dtype=values.dtype, eager=True)
    return nothing.scatter(like.is_not_null().arg_true(), values)

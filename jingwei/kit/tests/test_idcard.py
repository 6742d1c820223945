from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jingwei.kit.idcard import age_on, birth_dates, check_digits, clean_doc_types, clean_numbers, sexes

TODAY = date(2026, 11, 20)


def clean(number, doc_type="111"):
    """Value, error and the names of the rules that corrected one number."""
    raw, types = pl.Series([number], dtype=pl.String), pl.Series([doc_type], dtype=pl.String)
    cleaned = clean_numbers(raw, types, today=TODAY)
    return cleaned.values[0], cleaned.errors[0], [name for name, hit in cleaned.rules.items() if hit[0]]


def number_of(first17):
    weights = [2 ** (17 - place) % 11 for place in range(17)]
    rest = sum(int(digit) * weight for digit, weight in zip(first17, weights, strict=True)) % 11
    return first17 + "10X98765432"[rest]


born = st.dates(date(1900, 1, 1), TODAY)
first17 = st.builds(
    lambda region, day, order: f"{region:06}{day:%Y%m%d}{order:03}",
    st.integers(110000, 990101),
    born,
    st.integers(0, 999),
)


@pytest.mark.req("CL-3.2")
@given(first17)
def test_a_right_number_passes_and_tells_birth_date_and_sex(first):
    number = number_of(first)
    assert clean(number) == (number, None, [])
    numbers = pl.Series([number])
    assert birth_dates(numbers)[0].strftime("%Y%m%d") == first[6:14]
    assert sexes(numbers)[0] == ("1" if int(first[16]) % 2 else "2")
    assert check_digits(pl.Series([first]))[0] == number[17]


@pytest.mark.req("CL-3.2")
@given(first17, st.integers(1, 10))
def test_every_other_check_digit_is_refused_with_the_right_one_named(first, step):
    right = number_of(first)[17]
    wrong = "10X98765432"[("10X98765432".index(right) + step) % 11]
    value, error, _ = clean(first + wrong)
    assert value is None
    assert error.startswith(f"校验位应为 {right}") or (first[15:] + wrong == "000" and "存成过数字" in error)


@pytest.mark.req("CL-3.2", "CL-6.2")
def test_fifteen_digits_become_eighteen():
    assert clean("990101680708331") == ("99010119680708331X", None, ["15-digit id"])
    assert clean("990101680708331.0", None) == ("99010119680708331X", None, ["15-digit id"])


@pytest.mark.req("CL-6.2")
def test_writing_is_corrected_and_told():
    assert clean("99010119680708331x") == ("99010119680708331X", None, ["lower x"])
    assert clean("９９０１０１２００１０１３００６７６") == ("990101200101300676", None, ["trim/width"])
    assert clean("'990101 20130720 4887 ") == ("990101201307204887", None, ["trim/width"])


@pytest.mark.req("CL-6.2")
@pytest.mark.parametrize(
    ("number", "why"),
    [
        (None, "证件号为空"),
        ("\u3000", "证件号为空"),
        ("9.901011953033089e+17", "末几位已丢失"),
        ("9.90101E+17", "末几位已丢失"),
        ("990101197112042000", "存成过数字"),
        ("990101196802303311", "出生日期不存在"),
        ("990101680230331", "出生日期不存在"),
        (number_of("99010120270101331"), "晚于今天"),
        ("1234567", "应为 18 位，这里是 7 位"),
        ("12ab", "只能有数字"),
        ("٩٩٠١٠١١٩٦٨٠٧٠٨٣٣١٣", "只能有数字"),
    ],
)
def test_a_number_that_cannot_be_is_refused_with_the_reason(number, why):
    value, error, rules = clean(number)
    assert value is None
    assert why in error
    assert rules == []


@pytest.mark.req("CL-3.2")
def test_other_documents_are_taken_as_entered_in_capitals():
    assert clean("e12345678", "414") == ("E12345678", None, [])
    assert clean("H1234567(8)", "516") == ("H1234567(8)", None, [])
    assert clean("1234", "414")[0] is None
    assert clean("护照12345", "414")[0] is None
    assert birth_dates(pl.Series(["E12345678"]))[0] is None
    assert sexes(pl.Series(["E12345678"]))[0] is None


@pytest.mark.req("CL-3.2")
def test_residence_permits_carry_a_check_digit_too():
    number = number_of("81000019900101001")
    assert clean(number, "811") == (number, None, [])
    assert clean(number[:17] + ("1" if number[17] == "0" else "0"), "811")[0] is None


def test_without_a_type_the_shape_decides():
    assert clean("990101197112042874", None)[0] == "990101197112042874"
    assert "校验位" in clean("990101197112042873", None)[1]
    assert clean("E12345678", None)[0] == "E12345678"


@pytest.mark.req("CL-3.2")
@given(born, st.dates(TODAY, TODAY + timedelta(days=1500)))
def test_age_counts_birthdays(birth, day):
    birthdays = sum(
        (year, birth.month, birth.day) <= (day.year, day.month, day.day)
        for year in range(birth.year + 1, 2100)
    )
    assert age_on(pl.Series([birth]), day)[0] == birthdays


@pytest.mark.req("CL-6.2")
def test_document_types_have_synonyms():
    cleaned = clean_doc_types(pl.Series(["居民身份证", "二代证", " 护照", "414", "驾照", None]))
    assert cleaned.values.to_list() == ["111", "111", "414", "414", None, None]
    assert cleaned.errors.is_not_null().to_list() == [False, False, False, False, True, False]


@pytest.mark.req("SEC-12")
@given(st.lists(st.tuples(st.text() | st.none(), st.sampled_from(["111", "414", "811", None])), min_size=1))
def test_any_text_is_cleaned_or_refused(rows):
    numbers, types = zip(*rows, strict=True)
    cleaned = clean_numbers(
        pl.Series(numbers, dtype=pl.String), pl.Series(types, dtype=pl.String), today=TODAY
    )
    assert (cleaned.values.is_null() == cleaned.errors.is_not_null()).all()

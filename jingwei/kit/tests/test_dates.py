from datetime import date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jingwei.kit.dates import clean_dates, clean_times

TODAY = date(2026, 11, 20)
NOW = datetime(2026, 11, 20, 12, 0)
DATE_FORMS = ["{0:%Y-%m-%d}", "{0.year}.{0.month}.{0.day}", "{0.year}/{0.month}/{0.day}", "{0:%Y%m%d}"]
DATE_FORMS += [
    "{0.year}年{0.month}月{0.day}日",
    "{0.year}年{0:%m}月{0:%d}号",
    "{0:%Y-%m-%d} 00:00:00",
    " {0:%Y-%m-%d}",
]
TIME_FORMS = [
    "{0:%Y-%m-%d %H:%M:%S}",
    "{0:%Y-%m-%dT%H:%M:%S}",
    "{0:%Y%m%d%H%M%S}",
    "{0:%Y/%m/%d} {0.hour}:{0:%M:%S}",
]
TIME_FORMS += ["{0:%Y年%m月%d日 %H时%M分%S秒}", "{0:%Y.%m.%d %H:%M:%S}.000", "{0:%Y-%m-%d %I:%M:%S %p}"]
TIME_FORMS += ["{0:%Y-%m-%dT%H:%M:%S}+08:00"]


def dated(text, **options):
    cleaned = clean_dates(pl.Series([text], dtype=pl.String), TODAY, **options)
    return cleaned.values[0], cleaned.errors[0]


def timed(text, **options):
    cleaned = clean_times(pl.Series([text], dtype=pl.String), NOW, **options)
    return cleaned.values[0], cleaned.errors[0]


@pytest.mark.req("CL-6.2")
@given(st.dates(date(1900, 1, 1), TODAY), st.sampled_from(DATE_FORMS))
def test_a_date_is_read_in_every_writing(day, form):
    assert dated(form.format(day)) == (day, None)


@pytest.mark.req("CL-6.2")
@given(st.datetimes(datetime(1900, 1, 1), NOW), st.sampled_from(TIME_FORMS))
def test_a_time_is_read_in_every_writing(moment, form):
    moment = moment.replace(microsecond=0)
    assert timed(form.format(moment)) == (moment, None)


@pytest.mark.req("CL-6.2")
@given(st.datetimes(datetime(1930, 1, 1), NOW))
def test_a_serial_number_is_the_moment_of_the_sheet(moment):
    moment = moment.replace(microsecond=0)
    serial = (moment - datetime(1899, 12, 30)).total_seconds() / 86_400
    assert timed(repr(serial).removesuffix(".0")) == (moment, None)
    assert dated(str(int(serial))) == (moment.date(), None)


@pytest.mark.req("CL-6.2")
@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026年11月16日 02时19分", datetime(2026, 11, 16, 2, 19)),
        ("2026年11月4日下午3:20", datetime(2026, 11, 4, 15, 20)),
        ("2026-11-04 上午12:05", datetime(2026, 11, 4, 0, 5)),
        ("2026-11-04 10时", datetime(2026, 11, 4, 10)),
        ("2026-11-04", datetime(2026, 11, 4)),
        ("2026-11-04T02:49:00Z", datetime(2026, 11, 4, 10, 49)),
        ("2026-11-04T02:49:00.5-0100", datetime(2026, 11, 4, 11, 49, 0, 500_000)),
    ],
)
def test_a_time_is_read_as_wall_time_of_shanghai(text, moment):
    assert timed(text) == (moment, None)


@pytest.mark.req("CL-6.2")
@pytest.mark.parametrize(
    "text", ["昨天", "22-3-1", "2月30日", "2022年3月", "2022", "220301", "99999", "二〇二二年", "٢٠٢٢-٠٣-٠١"]
)
def test_what_is_no_date_is_told(text):
    assert dated(text)[0] is None
    assert "无法识别的日期" in dated(text)[1]
    assert "无法识别的时间" in timed(text)[1]


@pytest.mark.parametrize("text", ["2022-02-30", "2022-13-01", "2023.2.29", "20220431"])
def test_a_day_the_calendar_has_not_is_refused(text):
    assert dated(text) == (None, "日历上没有这一天或这个时刻，请核对")


@pytest.mark.parametrize("text", ["2022-02-28 24:00", "2022-02-28 10:60", "2022-02-28 10:00:61"])
def test_a_time_the_clock_has_not_is_refused(text):
    assert timed(text) == (None, "日历上没有这一天或这个时刻，请核对")


@pytest.mark.req("CL-6.2")
def test_the_future_is_refused_unless_allowed():
    assert dated("2026-11-20")[1] is None
    assert dated("2026-11-21") == (None, "日期晚于今天（2026-11-20），请核对")
    assert timed("2026-11-20 12:00:01") == (None, "时间晚于现在（2026-11-20 12:00），请核对")
    assert dated("2026-11-21", allow_future=True) == (date(2026, 11, 21), None)
    assert timed("2026-11-21", allow_future=True) == (datetime(2026, 11, 21), None)


@pytest.mark.req("SEC-12")
@given(
    st.lists(
        st.text(st.sampled_from("0123456789-./年月日时分 :T+Z上下午") | st.characters(codec="utf-8"))
        | st.none()
    )
)
def test_any_text_is_read_or_refused(texts):
    raw = pl.Series(texts, dtype=pl.String)
    for cleaned in [clean_dates(raw, TODAY), clean_times(raw, NOW)]:
        blank = pl.Series([text is None or not text.strip("\u3000 ") for text in texts], dtype=pl.Boolean)
        assert (cleaned.values.is_null() | cleaned.errors.is_null()).all()
        assert (
            blank
            | cleaned.values.is_not_null()
            | cleaned.errors.is_not_null()
            | raw.str.contains(r"^[\s\p{Cf}\p{Cc}]*$")
        ).all()

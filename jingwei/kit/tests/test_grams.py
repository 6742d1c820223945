import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jingwei.kit.grams import SHORT, column_grams, query_grams
from jingwei.kit.sm4siv import Cmac
from jingwei.kit.text import fold

pytestmark = pytest.mark.req("P-4.2")


def mac(messages, key=bytes(16)):
    return Cmac(key).tags(messages)[:, :4].copy().view("<i4").ravel()


texts = st.text(st.sampled_from("金湾镇下洋村19号栋Aa 𬭎") | st.characters(codec="utf-8"), max_size=12)


@given(st.lists(st.tuples(texts | st.none(), texts | st.none()), min_size=1, max_size=20), texts)
def test_every_row_that_contains_the_term_has_its_grams(rows, term):
    columns = [pl.Series(column, dtype=pl.String) for column in zip(*rows, strict=True)]
    wanted = query_grams(term, mac)
    folded_term = fold(pl.Series([term]))[0]
    for grams, *row in zip(column_grams(columns, mac), *(fold(column) for column in columns), strict=True):
        texts = [text for text in row if text and (len(folded_term or "") > 1 or len(text) <= SHORT)]
        if folded_term and any(folded_term in text for text in texts):
            assert set(wanted) <= set(grams)


def test_grams_are_the_pairs_of_each_column_and_the_characters_of_short_texts_sorted_once():
    grams = column_grams([pl.Series(["下洋 下洋", None, ""]), pl.Series(["A一二三四", None, None])], mac)
    pieces = ["下", "洋", "下洋", "洋下", "a一", "一二", "二三", "三四"]
    assert grams[0].to_list() == sorted(mac([piece.encode() for piece in pieces]).tolist())
    assert grams.to_list()[1:] == [None, None]
    assert grams.dtype == pl.List(pl.Int32)


def test_columns_do_not_run_into_each_other():
    [grams] = column_grams([pl.Series(["下"]), pl.Series(["洋"])], mac)
    assert query_grams("下洋", mac)[0] not in grams


def test_rows_beyond_the_first_batch_keep_their_places():
    column = pl.Series([f"{number}号" if number % 2 else None for number in range(70_000)])
    grams = column_grams([column], mac)
    assert len(grams) == 70_000
    assert grams[69_998] is None
    assert set(query_grams("69999号", mac)) <= set(grams[69_999])


def test_another_key_gives_other_numbers():
    assert query_grams("下洋", mac) != query_grams("下洋", lambda messages: mac(messages, key=b"k" * 16))


def test_nothing_asks_for_nothing():
    assert query_grams("\u3000", mac) == []
    assert column_grams([pl.Series([], dtype=pl.String)], mac).to_list() == []

"""Keyed fragments of texts: they find a fragment in an encrypted column without showing the text (P-4.2).

The grams of a text are its pairs of neighbours, and the single characters of a short text such as a name,
each replaced by 32 bits of a keyed MAC. (The single characters of addresses would double the index and find
nearly everybody.) A search asks for rows that have all grams of the term, decrypts these few and looks again:
two grams may share a number, and all pairs of a term may stand apart in a text.
"""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from jingwei.kit.text import fold

Mac = Callable[[Sequence[bytes]], np.ndarray]
"""Messages → one int32 each."""

SHORT = 4
"""Characters of a text whose single characters are grams too."""

_ROWS_AT_ONCE = 1 << 16
# A pair of characters in one integer; a Unicode character has at most 21 bits and none is 0 after folding.
_BITS = 21


def column_grams(texts: list[pl.Series], mac: Mac) -> pl.Series:
    """The grams of several text columns of the same rows, sorted and without repetition.

    List(Int32), null in a row without text.
    """
    folded = [fold(column) for column in texts]
    known = pl.DataFrame(schema={"gram": pl.Int64, "number": pl.Int32})
    batches = []
    for start in range(0, len(folded[0]), _ROWS_AT_ONCE):
        parts = [_grams(column.slice(start, _ROWS_AT_ONCE)) for column in folded]
        rows, grams = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        frame = pl.DataFrame({"gram": grams})
        fresh = frame.unique().join(known, on="gram", how="anti")
        numbers = mac([_message(gram) for gram in fresh["gram"].to_list()])
        known = pl.concat([known, fresh.with_columns(number=pl.Series(numbers, dtype=pl.Int32))])
        numbers = frame.join(known, on="gram", how="left", maintain_order="left")["number"].to_numpy()
        # Row and number in one integer: one sort puts both in order and repetitions side by side.
        both = np.sort((rows + start) << 32 | (numbers.astype(np.int64) + 2**31))
        both = both[np.diff(both, prepend=-1) != 0]
        batch = pl.DataFrame({"row": both >> 32, "grams": ((both & 0xFFFFFFFF) - 2**31).astype(np.int32)})
        batches.append(batch.set_sorted("row").group_by("row", maintain_order=True).agg("grams"))
    every = pl.DataFrame({"row": np.arange(len(folded[0]))})
    if not batches:
        return pl.Series("grams", [], dtype=pl.List(pl.Int32))
    return every.join(pl.concat(batches), on="row", how="left", maintain_order="left")["grams"]


def query_grams(term: str, mac: Mac) -> list[int]:
    """What a text must contain to contain the term: the grams of its pairs, or of its one character.

    One character is found in texts of up to `SHORT` characters only. Empty for a term in which nothing is
    left to look for.
    """
    folded = fold(pl.Series([term]))[0] or ""
    pairs = [folded[i : i + 2] for i in range(len(folded) - 1)] or list(folded)
    return sorted({int(number) for number in mac([pair.encode() for pair in pairs])}) if pairs else []


def _grams(texts):
    """Row numbers and grams (int64 each) of a folded column."""
    lengths = texts.str.len_chars().fill_null(0).to_numpy()
    joined = texts.drop_nulls().str.join("").item().encode("utf-32-le")
    characters = np.frombuffer(joined, np.uint32).astype(np.int64)
    rows = np.repeat(np.arange(len(texts)), lengths)
    paired = rows[1:] == rows[:-1]
    pairs = (characters[:-1] << _BITS | characters[1:])[paired]
    single = np.repeat(lengths <= SHORT, lengths)
    return np.concatenate([rows[single], rows[1:][paired]]), np.concatenate([characters[single], pairs])


def _message(gram):
    first, second = gram >> _BITS, gram & (1 << _BITS) - 1
    return (chr(first) + chr(second) if first else chr(second)).encode()

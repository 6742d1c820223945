"""How far apart two numbers are that should be one: the slips of a hand that copies or types (P-5.7)."""

import numpy as np
import polars as pl


def count_slips(left: pl.Series, right: pl.Series) -> pl.DataFrame:
    """Compare two String columns row by row: UInt8 columns `wrong`, `swapped` and `missing`.

    `swapped` counts pairs of neighbours in the wrong order, `wrong` the other places with different
    characters, `missing` is 1 where one text is the other with one character left out. Their sum is 0 for
    equal texts. All three are null where the lengths differ otherwise, or a text is null.
    """
    texts = [series.fill_null("").to_list() for series in (left, right)]
    lengths = [np.array([len(text) for text in side], dtype=np.int64) for side in texts]
    width = int(max(length.max(initial=0) for length in lengths)) + 1
    one, other = (_characters(side, width) for side in texts)
    wrong, swapped = _substitutions(one, other)
    longer = lengths[0] > lengths[1]
    missing = _one_left_out(
        np.where(longer[:, None], one, other),
        np.where(longer[:, None], other, one),
        np.minimum(*lengths),
    )
    alike = lengths[0] == lengths[1]
    apart = np.abs(lengths[0] - lengths[1]) == 1
    counted = pl.DataFrame(
        {
            "wrong": np.where(alike, wrong, 0).astype(np.uint8),
            "swapped": np.where(alike, swapped, 0).astype(np.uint8),
            "missing": (~alike).astype(np.uint8),
        }
    )
    comparable = pl.Series(alike | (apart & missing)) & left.is_not_null() & right.is_not_null()
    return counted.with_columns(pl.when(comparable).then(pl.all()))


def _characters(texts, width):
    """Code points, shape (texts, width), padded with 0."""
    return np.array(texts, dtype=f"U{width}").view(np.uint32).reshape(len(texts), width)


def _substitutions(one, other):
    differs = one != other
    swapped = np.zeros(len(one), dtype=np.int64)
    free = np.ones(len(one), dtype=bool)  # the place before is not part of a swap already counted
    for place in range(one.shape[1] - 1):
        swap = (
            free
            & differs[:, place]
            & (one[:, place] == other[:, place + 1])
            & (one[:, place + 1] == other[:, place])
        )
        swapped += swap
        free = ~swap
    return differs.sum(axis=1) - 2 * swapped, swapped


def _one_left_out(longer, shorter, length):
    """Whether `shorter`, of `length` characters, is `longer` without one of its characters."""
    before = np.cumprod(longer == shorter, axis=1).sum(axis=1)
    same_after = longer[:, 1:] == shorter[:, :-1]
    beyond = np.arange(same_after.shape[1]) >= length[:, None]
    after = np.cumprod((same_after | beyond)[:, ::-1], axis=1).sum(axis=1) - beyond.sum(axis=1)
    return np.minimum(before, length) + after >= length

"""What follows from the other columns of a resident, in forms, sheets and merges alike (CL-3.2, CL-3.6)."""

import polars as pl

from jingwei.base.columns import RESIDENT_ID
from jingwei.base.crypto import mac_numbers
from jingwei.base.fields import grams_of
from jingwei.kit import idcard
from jingwei.kit.text import fold

# Types of documents whose number tells birth date and sex.
TELLING = [RESIDENT_ID, "112", "811"]
# {column read: its type}
SOURCES = {
    **dict.fromkeys(["doc_type", "number", "sex"], pl.String),
    "birth_date": pl.Date,
    **dict.fromkeys(["name", "address", "registered_address", "occupation"], pl.String),
}
FOLLOWING = ("sex", "birth_date", "household", "grams")


def following(rows: pl.DataFrame) -> pl.DataFrame:
    """The columns `FOLLOWING` of rows with the columns `SOURCES`, all in clear.

    Sex and birth date stay as entered where the number tells none.
    """
    numbers = pl.select(pl.when(rows["doc_type"].is_in(TELLING)).then(rows["number"])).to_series()
    return pl.DataFrame(
        {
            "sex": idcard.sexes(numbers).fill_null(rows["sex"]),
            "birth_date": idcard.birth_dates(numbers).fill_null(rows["birth_date"]),
            "household": _households(rows["address"]),
            "grams": grams_of(
                [rows[name] for name in ("name", "address", "registered_address", "occupation")]
            ),
        }
    )


def _households(addresses):
    """A keyed digest of each address, Int64: who lives together has the same."""
    frame = pl.DataFrame({"folded": fold(addresses)})
    known = frame.drop_nulls().unique(maintain_order=True)
    digests = mac_numbers("household", [text.encode() for text in known["folded"]], bits=64)
    known = known.with_columns(household=pl.Series(digests, dtype=pl.Int64))
    return frame.join(known, on="folded", how="left", maintain_order="left")["household"]

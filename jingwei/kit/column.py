"""What every cleaning function of the kit takes and returns.

It takes one whole column as a Polars String series: the text of the cells as the sheet reader renders them.
Whole numbers are digits, dates are ``YYYY-MM-DD HH:MM:SS``, floats of 1e15 and more are written with an
exponent (``9.901011953033089e+17``), empty cells are null. A form calls the same function with a series of
length one.
"""

from dataclasses import dataclass, field

import polars as pl


@dataclass
class Cleaned:
    """A cleaned column; every series is as long as the column that went in (CL-6.2, CL-6.4)."""

    values: pl.Series
    """The cleaned values, null where the cell is empty or refused."""
    errors: pl.Series
    """String: why the cell is refused, in Chinese; null where it is fine."""
    rules: dict[str, pl.Series]
    """Name of a correcting rule → Boolean series "this cell was corrected by it"."""
    elsewhere: dict[str, pl.Series] = field(default_factory=dict)
    """Name of a partner column → errors found there, such as a town that leaves a village ambiguous."""

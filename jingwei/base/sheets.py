"""What a kind of source sheet looks like, and the one pass that cleans and checks its rows (P-5.3, CL-6.2).

`clean_frame` is the only place where raw cells become values: the import gives it a whole sheet, the form a
sheet of one row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from jingwei.base.columns import Context, Type
from jingwei.kit.column import Cleaned
from jingwei.kit.text import tidy

ROW = "__row"  # number of the row in the sheet as Excel shows it


@dataclass(frozen=True)
class SheetColumn:
    """One column of a sheet: `name` of the value (a model field unless `stored=False`), heading, synonyms.

    `lenient`: a value that is none is left out with a warning instead of refusing the row; the stored value
    stays as it was. `required`: an empty cell refuses the row.
    """

    name: str
    heading: str
    type: Type
    synonyms: Sequence[str] = ()
    required: bool = False
    lenient: bool = False
    stored: bool = True


class Sheet:
    """A kind of sheet, declared. `key` names the columns that make a row the same thing in the register."""

    name: str = ""  # on the command line and in addresses
    label: str = ""
    resource: str = ""  # its import needs "<resource>.import"
    model: Any = None
    columns: Sequence[SheetColumn] = ()
    key: Sequence[str] = ()
    example: dict[str, str] = {}  # an example row of the template, by column name

    derived: Sequence[str] = ()  # model fields that `derive` gives

    def derive(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The columns `derived` of whole rows (stored values merged with new ones, all in clear).

        What follows from other columns (birth date from the ID number, search grams) is worked out here, for
        forms and imports alike.
        """
        return rows.select()

    def column(self, name) -> SheetColumn | None:
        """The column of that name."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass
class CleanedFrame:
    """A cleaned sheet.

    `values`: one column per sheet column, plus ROW, of the rows that are good.
    `refused`: ROW, column (name), reason. Every error of every bad row, not just the first.
    `warnings`: ROW, column, reason; the row is kept. `rules`: {rule: corrected cells of good and bad rows}.
    """

    values: pl.DataFrame
    refused: pl.DataFrame
    warnings: pl.DataFrame
    rules: dict[str, int] = field(default_factory=dict)


MESSAGES = {ROW: pl.Int64, "column": pl.Utf8, "reason": pl.Utf8}


def clean_frame(sheet: Sheet, raw: pl.DataFrame, context: Context, only: Sequence[str] = ()) -> CleanedFrame:
    """Clean and check all rows of `raw` (ROW and Utf8 columns named as the sheet's; missing ones are empty).

    `only` limits the columns that are cleaned and required, for an update by a form that shows just these.
    """
    rows = raw[ROW]
    context.raw, context.done = raw, {}
    refused, warned, rules = [], [], {}
    for column in sheet.columns:
        if only and column.name not in only:
            continue
        cells = raw[column.name] if column.name in raw.columns else pl.Series([None] * len(raw), dtype=pl.Utf8)
        cleaned = column.type.clean(cells, context)
        context.done[column.name] = cleaned.values
        for name, corrected in cleaned.rules.items():
            rules[name] = rules.get(name, 0) + int(corrected.fill_null(False).sum())
        (warned if column.lenient else refused).append(_messages(rows, column.name, cleaned.errors))
        refused += [_messages(rows, name, errors) for name, errors in _errors_elsewhere(cleaned)]
        if column.required:
            missing = cleaned.values.is_null() & cleaned.errors.is_null()
            reason = pl.select(pl.when(missing).then(pl.lit(f"{column.heading}不能为空，请填写"))).to_series()
            refused.append(_messages(rows, column.name, reason))
    values = pl.DataFrame({ROW: rows, **context.done})
    refused = pl.concat([pl.DataFrame(schema=MESSAGES), *refused])
    return CleanedFrame(
        values=values.filter(~values[ROW].is_in(refused[ROW].implode())) if len(refused) else values,
        refused=refused.sort(ROW, maintain_order=True),
        warnings=pl.concat([pl.DataFrame(schema=MESSAGES), *warned]).sort(ROW, maintain_order=True),
        rules=rules,
    )


def _errors_elsewhere(cleaned: Cleaned):
    """Errors a type found in a partner column: a town that makes a village ambiguous."""
    return getattr(cleaned, "elsewhere", {}).items()


def _messages(rows, column, reasons):
    found = reasons.is_not_null()
    return pl.DataFrame(
        {ROW: rows.filter(found), "column": [column] * int(found.sum()), "reason": reasons.filter(found)},
        schema=MESSAGES,
    )


def is_empty_row(raw: pl.DataFrame, names) -> pl.Series:
    """Which rows have no text in any of the columns `names`."""
    empty = pl.Series([True] * len(raw))
    for name in names:
        empty &= tidy(raw[name]).values.is_null()
    return empty

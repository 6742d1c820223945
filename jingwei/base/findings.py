"""What a load has to say of its rows: every refusal and every warning, however many (CL-6.4, P-5.3)."""

from collections.abc import Iterator, Sequence

import polars as pl

from jingwei.base.models import Load, LoadFindings

AT_ONCE = 5_000  # in one row of the database
KINDS = ("rejected", "warnings")  # as in the counts of a load
NONE = pl.DataFrame(schema={"row": pl.Int64, "column": pl.String, "reason": pl.String})


def keep(load: Load, kind, said: pl.DataFrame):
    """Keep these messages (row, column, reason) with the load, in place of former ones."""
    load.findings.filter(kind=kind).delete()
    for number, start in enumerate(range(0, len(said), AT_ONCE)):
        block = said[start : start + AT_ONCE]
        LoadFindings.objects.create(
            load=load, kind=kind, number=number, count=len(block), said=list(map(list, block.rows()))
        )


class Findings(Sequence):
    """The messages of one kind as a sequence of {row, column, reason}, fetched block by block."""

    def __init__(self, load: Load, kind):
        self._blocks = load.findings.filter(kind=kind).order_by("number")
        self._counts = list(self._blocks.values_list("count", flat=True))

    def __len__(self):
        return sum(self._counts)

    def __getitem__(self, place):
        if isinstance(place, slice):
            start, stop, _ = place.indices(len(self))
            first = start // AT_ONCE
            blocks = self._blocks.filter(number__range=(first, (stop - 1) // AT_ONCE)) if start < stop else ()
            found = [told for block in blocks for told in block.said]
            return [_told(said) for said in found[start - first * AT_ONCE : stop - first * AT_ONCE]]
        return self[place : place + 1 or None][0]

    def __iter__(self):
        return (_told(said) for block in self._blocks.iterator(chunk_size=1) for said in block.said)

    def columns(self) -> Iterator[list[Sequence]]:
        """Rows, columns and reasons, block by block."""
        for block in self._blocks.iterator(chunk_size=1):
            yield list(zip(*block.said, strict=True))


def _told(said):
    return dict(zip(("row", "column", "reason"), said, strict=True))

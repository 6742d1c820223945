"""The performance figures of the spec, each measured beside a reference in the same run: `make bench`.

A module here has `measure(full)`, which gives Figures; it stands in the list of `bench.__main__`.
"""

from dataclasses import dataclass


@dataclass
class Figure:
    """One figure: `ours` in `unit`, and what it is compared with.

    With a `reference` the limit is on the ratio of both, else on `ours` itself. `at_least` turns it round.
    """

    id: str
    what: str
    ours: float
    unit: str
    limit: float
    reference: float | None = None
    at_least: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times the reference."""
        return None if self.reference is None else self.ours / self.reference

    @property
    def ok(self) -> bool:
        """Whether it keeps the limit."""
        measured = self.ours if self.ratio is None else self.ratio
        return measured >= self.limit if self.at_least else measured <= self.limit

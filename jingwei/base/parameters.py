"""System parameters: declared where used, set by an administrator, effective without restart (P-6.2)."""

import time
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError

FRESH_SECONDS = 3
_kept: dict[str, Any] = {"until": 0.0, "values": {}}


@dataclass(frozen=True)
class Parameter:
    """One parameter. `default` gives the type: int, bool or str. `low` and `high` bound an int, inclusive."""

    name: str
    label: str
    default: int | bool | str
    note: str = ""
    unit: str = ""
    low: int | None = None
    high: int | None = None

    def value(self):
        """The value in force."""
        stored = _stored().get(self.name)
        return self.default if stored is None else self.parse(stored)

    def parse(self, text: str):
        """`text` as the parameter's type, or ValidationError in words."""
        text = text.strip()
        if isinstance(self.default, bool):
            if text not in ("是", "否"):
                raise ValidationError(f"{self.label}：请填“是”或“否”")
            return text == "是"
        if not isinstance(self.default, int):
            return text
        try:
            number = int(text)
        except ValueError:
            raise ValidationError(f"{self.label}：请填整数") from None
        if (self.low is not None and number < self.low) or (self.high is not None and number > self.high):
            raise ValidationError(f"{self.label}：应在 {self.low} 到 {self.high} 之间")
        return number

    @staticmethod
    def text(value) -> str:
        """The stored and shown form of a value."""
        return ("是" if value else "否") if isinstance(value, bool) else str(value)


def _stored() -> dict[str, str]:
    if _kept["until"] < time.monotonic():
        from jingwei.base.models import ParameterValue  # models are not ready when parameters are declared

        _kept["values"] = dict(ParameterValue.objects.values_list("name", "value"))
        _kept["until"] = time.monotonic() + FRESH_SECONDS
    return _kept["values"]


def forget():
    """Read the values anew: called where one is saved."""
    _kept["until"] = 0.0

"""Region codes by their prefixes (GB/T 2260, GB/T 10114) and the names people write for them."""

import re
from collections import defaultdict
from dataclasses import dataclass

import polars as pl

from jingwei.kit.text import QUOTED, tidy

TOWN, COMMUNITY, GRID = 9, 12, 15  # digits in the code of a region at that level
LEVELS = {2: "省", 4: "市", 6: "区县", TOWN: "街道乡镇", COMMUNITY: "社区村", GRID: "网格"}

# 下洋村委会 is the committee of 下洋村, 兴门居委会 that of 兴门社区.
_COMMITTEES = [
    (re.compile("(街道|镇|乡)(办事处|办|人民政府|政府)$"), r"\1"),
    (re.compile("(社区|村)?(居民委员会|居委会)$"), lambda match: match[1] or "社区"),
    (re.compile("村(村民委员会|村委会|民委员会|委会)$"), "村"),
]
_SUFFIX = re.compile("(?<=.)(街道|社区|镇|乡|村)$")


def level_of(code: str) -> str:
    """The level of a region code (one of `LEVELS`); ValueError for what is no code."""
    if len(code) not in LEVELS or not (code.isascii() and code.isdecimal()):
        raise ValueError(f"“{code}”不是行政区划代码：应为 2、4、6、9、12 或 15 位数字")
    return LEVELS[len(code)]


def parent_of(code: str) -> str | None:
    """The code of the region above; None for a province."""
    lengths = list(LEVELS)
    place = lengths.index(len(code))
    return code[: lengths[place - 1]] if place else None


def full_name(name: str) -> str:
    """The name of the place whose office or committee this is: 下洋村委会 → 下洋村; other names unchanged."""
    for pattern, replacement in _COMMITTEES:
        name, count = pattern.subn(replacement, name)
        if count:
            break
    return name


def short_name(name: str) -> str:
    """The name without 街道, 镇, 乡, 社区, 村 and their offices: 安平街道办事处 → 安平."""
    return _SUFFIX.sub("", full_name(name))


@dataclass
class Resolved:
    """A town and a village column, resolved row by row to village codes."""

    values: pl.Series
    """Codes of 12 digits, null where refused."""
    town_errors: pl.Series
    village_errors: pl.Series
    rules: dict[str, pl.Series]


class RegionNames:
    """Names of towns and villages inside a territory (CL-2.1, CL-6.2).

    `rows` are (code, name) of regions; `within` the code prefixes of the territory. A town above it is
    known as far as the territory reaches. What lies outside is answered like what does not exist.
    """

    def __init__(self, rows: list[tuple[str, str]], within: list[str]):
        self._towns, self._villages = _Names(), _Names()
        for code, name in rows:
            inside = any(code.startswith(prefix) for prefix in within)
            if len(code) == 12 and inside:
                self._villages.add(code, name)
            elif len(code) == 9 and (inside or any(prefix.startswith(code) for prefix in within)):
                self._towns.add(code, name)

    def resolve(self, towns: pl.Series | None, villages: pl.Series) -> Resolved:
        """Codes of the villages named in each row; the town may be missing where the village is unambiguous.

        Rules: ``trim/width``; ``region by short name`` where the town or the village wasn't named in full.
        """
        tidy_villages = tidy(villages)
        blank = pl.repeat(None, len(villages), dtype=pl.String, eager=True)
        tidy_towns = tidy(blank if towns is None else towns)
        frame = pl.DataFrame({"town": tidy_towns.values, "village": tidy_villages.values})
        pairs = frame.unique()
        answers = pl.DataFrame(
            [self._one(town, village) for town, village in pairs.iter_rows()],
            schema={
                "code": pl.String,
                "town_error": pl.String,
                "village_error": pl.String,
                "short": pl.Boolean,
            },
            orient="row",
        )
        answers = frame.join(
            pl.concat([pairs, answers], how="horizontal"),
            on=["town", "village"],
            how="left",
            nulls_equal=True,
            maintain_order="left",
        )
        fine = answers["code"].is_not_null()
        trimmed = tidy_towns.rules["trim/width"] | tidy_villages.rules["trim/width"]
        return Resolved(
            values=answers["code"],
            town_errors=answers["town_error"],
            village_errors=answers["village_error"],
            rules={"trim/width": trimmed & fine, "region by short name": answers["short"] & fine},
        )

    def _one(self, town, village):
        """Code, error of the town, error of the village, "a short name was used" for one pair of names."""
        if village is None:
            return None, None, "村/社区为空，请填写", False
        within, short_town, said = "", False, village[:QUOTED]
        if town is not None:
            codes, short_town = self._towns.find(town)
            if not codes:
                return None, f"“{town[:QUOTED]}”不是您管辖范围内的乡镇(街道)，请核对", None, False
            if len(codes) > 1:
                return None, f"“{town}”不止一个，请写全称", None, False
            within = codes[0]
        codes, short = self._villages.find(village, within)
        if not codes:
            place = f"{town}没有" if town else "您的管辖范围内没有"
            return None, None, f"{place}“{said}”，请核对村/社区", False
        if len(codes) == 1:
            return codes[0], None, None, short or short_town
        if len({code[:9] for code in codes}) > 1:
            return None, f"不止一个乡镇(街道)有“{said}”，请填写乡镇(街道)", None, False
        return None, None, f"这里不止一个“{said}”，请写全称", False


class _Names:
    """Codes by full and by short name."""

    def __init__(self):
        self._full, self._short = defaultdict(list), defaultdict(list)

    def add(self, code, name):
        self._full[name].append(code)
        self._short[short_name(name)].append(code)

    def find(self, name, prefix=""):
        """Codes under the prefix that bear the name, and whether it is a short one. A full name wins."""
        for names, key in [(self._full, name), (self._full, full_name(name)), (self._short, name)]:
            codes = [code for code in names.get(key, []) if code.startswith(prefix)]
            if codes:
                return codes, key != name or names is self._short
        return [], False

"""Text as people type it: tidying, masking and the form in which it is searched."""

from unicodedata import category

import polars as pl

from jingwei.kit.column import Cleaned

TIDIED = "trim/width"
QUOTED = 40  # characters of a cell that its refusal repeats

# Full-width ASCII (U+FF01–FF5E) becomes plain ASCII, brackets and commas too, so that 下洋村（北） and
# 下洋村(北) are one place; 、。“”《》 are no ASCII and stay.
_WIDE = [chr(code) for code in range(0xFF01, 0xFF5F)]
_PLAIN = [chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)]

# Control characters other than white space, and format characters: zero-width, byte order mark, text
# direction, soft hyphen. None is visible; each makes two equal numbers differ. Private-use characters (Co)
# and ideographic variation selectors (Mn) are how rare names are written, and stay. For the same reason
# nothing is normalised to NFC, which replaces compatibility ideographs.
_INVISIBLE = r"[\p{Cf}\p{Cc}--\s]"
_SUSPECT = r"^\s|\s$|\s\s|[\p{Cf}\p{Cc}\x{ff01}-\x{ff5e}]|[\p{Z}--\x20]"


def tidy(raw: pl.Series) -> Cleaned:
    """Trim, drop invisible characters, make full-width ASCII plain, runs of white space one space (CL-6.2).

    Refuses nothing; a cell of white space alone becomes null. Rule: ``trim/width``.
    """
    cell = pl.col("raw")
    frame = raw.cast(pl.String).alias("raw").to_frame()
    if frame.select(cell.str.contains(_SUSPECT).any()).item():
        tidied = (
            cell.str.replace_all(_INVISIBLE, "")
            .str.replace_many(_WIDE, _PLAIN)
            .str.replace_all(r"\s+", " ")
            .str.strip_chars(" ")
        )
    else:
        tidied = cell
    frame = frame.with_columns(value=pl.when(tidied != "").then(tidied))
    return Cleaned(
        values=frame["value"],
        errors=pl.repeat(None, len(raw), dtype=pl.String, eager=True),
        rules={TIDIED: frame.select((pl.col("value") != cell).fill_null(False)).to_series()},
    )


def without_unseen(text: str) -> str:
    """One text of a stranger as it may be shown: white space stays, what else cannot be seen is gone.

    Cc, Cf: control characters and those that turn the direction of writing; Cs: halves of a character.
    """
    return "".join(c for c in text if c in "\t\n\r" or category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))


def fold(texts: pl.Series) -> pl.Series:
    """The form in which two texts are compared in a search: tidied, lower case, without spaces."""
    return tidy(texts).values.str.to_lowercase().str.replace_all(" ", "", literal=True)


def _cover(text: str, head: int, tail: int) -> str:
    return text[:head] + "*" * (len(text) - head - tail) + text[len(text) - tail :]


def mask_number(number: str) -> str:
    """A document number as it may be shown (P-4.3): ``350182********123X``; of shorter ones less is left."""
    size = len(number)
    if size >= 15:
        return _cover(number, 6, 4)
    keep = 2 if size >= 8 else 1 if size >= 5 else 0
    return _cover(number, keep, keep)


def mask_phone(phone: str) -> str:
    """A telephone number as it may be shown (P-4.3): ``138****5678``; the area code of a landline stays."""
    area, dash, local = phone.partition("-")
    if dash and len(local) >= 7:
        return f"{area}-{_cover(local, 0, 4)}"
    size = len(phone)
    return _cover(phone, *((3, 4) if size >= 11 else (0, 4) if size >= 7 else (0, 0)))


def mask_address(address: str) -> str:
    """An address as it may be shown: its first six characters, at most half of it, then stars."""
    return address[: min(6, len(address) // 2)] + "****"


def mask_text(text: str) -> str:
    """A name or other personal text as it may be shown: the first character, and no hint at the length."""
    return text[:1] + "**" if len(text) > 1 else "**"


def whole(text: str) -> int | None:
    """The number that plain digits of an address or a form write, 15 of them at most; None for anything else.

    What has more is no number of ours, and `int` raises an error for some thousands.
    """
    return int(text) if len(text) <= 15 and text.isascii() and text.isdecimal() else None

"""Telephone numbers of mainland China."""

import polars as pl

from jingwei.kit.column import Cleaned
from jingwei.kit.text import tidy

_MOBILE = r"^1[3-9][0-9]{9}$"
# Area codes have three digits (010, 02x) or four. An extension stands behind -, 转, ext or #.
_LANDLINE = r"^(010|02[0-9]|0[3-9][0-9]{2})([0-9]{7,8})(?:(?:转|[Ee][Xx][Tt]|#|x)([0-9]{1,6}))?$"
_WITH_EXTENSION = r"^(\(?0[0-9]{2,3}\)?[\s-]*[0-9]{7,8})\s*-\s*([0-9]{1,6})$"


def clean_phones(raw: pl.Series) -> Cleaned:
    """Mobiles → 11 digits; landlines → ``0591-12345678``, with an extension ``0591-12345678-801``.

    Country code, spaces, dashes, dots and brackets go. Rules: ``trim/width``; ``phone format`` where more
    changed.
    """
    tidied = tidy(raw)
    # The ".0" is the sheet's, not the writer's, so taking it away corrects nothing.
    plain = tidied.values.str.replace(r"^([0-9]+)\.0$", "$1")
    dial = (
        plain.str.replace(_WITH_EXTENSION, "$1#$2")
        .str.replace_all(r"[\s().·–—-]", "")
        .str.replace(r"^(?:\+|00)86(0[0-9]+)$|^(?:(?:\+|00)?86)(1[3-9][0-9]{9})$", "$1$2")
        .str.replace(r"^(?:\+|00)86(10[0-9]{8}|[2-9][0-9]{8,10})$", "0$1")
    )
    names = ["area", "local", "extension"]
    parts = dial.str.extract_groups(_LANDLINE).struct.rename_fields(names).struct.unnest()
    landline = pl.concat_str("area", pl.lit("-"), "local")
    frame = parts.with_columns(dial, plain.alias("plain")).select(
        "plain",
        phone=pl.when(dial.str.contains(_MOBILE))
        .then(dial)
        .when(pl.col("extension").is_null())
        .then(landline)
        .otherwise(pl.concat_str(landline, pl.lit("-"), "extension")),
    )
    fine = frame["phone"].is_not_null()
    bad = pl.col("plain").is_not_null() & pl.col("phone").is_null()
    return Cleaned(
        values=frame["phone"],
        errors=frame.select(
            pl.when(bad).then(pl.lit("不是有效的电话号码，应为 11 位手机号或带区号的座机"))
        ).to_series(),
        rules={
            **{name: applied & fine for name, applied in tidied.rules.items()},
            "phone format": (frame["phone"] != frame["plain"]).fill_null(False),
        },
    )

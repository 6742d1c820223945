"""The poster that hangs at the entrance of a venue, with the code of its scan page (KP-9.3)."""

import json
from collections.abc import Sequence
from pathlib import Path

import segno
import typst
from django.conf import settings

from jingwei.base import audit
from jingwei.places.models import Venue
from jingwei.places.queries import scan_address

FOLDER = Path(__file__).with_name("poster")
MOST_POSTERS = 500  # of one file


def compose(venues: Sequence[Venue]) -> bytes:
    """A PDF with a page of A4 for each venue. It carries its font, so that it is the same everywhere."""
    posters = json.dumps([_poster(venue) for venue in venues])
    return typst.compile(
        FOLDER / "poster.typ",
        font_paths=[FOLDER],
        ignore_system_fonts=True,
        format="pdf",
        sys_inputs={"posters": posters},
    )


def _poster(venue):
    address = settings.JINGWEI_SITE + scan_address(venue.pk)
    code = segno.make(address, error="m", micro=False)
    return {
        "district": venue.city,
        "name": venue.name,
        "code": venue.code,
        "where": "　".join(filter(None, (venue.street, venue.position))),
        "address": address,
        "picture": code.svg_inline(border=0),
    }


def print_posters(actor, venues: Sequence[Venue]) -> tuple[str, bytes]:
    """The posters of these venues as a file to print: (name, content)."""
    one = venues[0] if len(venues) == 1 else None
    audit.record(
        actor,
        "打印海报",
        one,
        resource="venues",
        label="" if one else f"{len(venues):,} 个场所",
        codes=[venue.code for venue in venues],
    )
    return f"场所海报-{one.code if one else f'{len(venues)}个'}.pdf", compose(venues)

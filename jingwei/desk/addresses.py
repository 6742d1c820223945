"""What may be personal stands sealed in an address (P-4.1).

A search for a number or a phone is no clear text in a browser's history, a proxy's log or a saved query.
"""

import base64
from functools import cache

from jingwei.base.crypto import Column, provider
from jingwei.base.fields import SealedField, personal_fields
from jingwei.desk.columns import field_at

MARK = "~"  # begins a text that is sealed
TEXT = Column("desk.address", searchable=False)


@cache
def personal_parameters(resource) -> frozenset[str]:
    """The parameters of a resource's list that stand sealed in addresses."""
    if not personal_fields(resource.model):
        return frozenset()
    filters = [f.name for f in resource.filters if isinstance(field_at(resource.model, f.name), SealedField)]
    return frozenset(["q", *filters])


def sealed(text: str) -> str:
    """A text as it stands in an address."""
    [blob] = provider().encrypt(TEXT, [text])
    return MARK + base64.urlsafe_b64encode(blob).decode().rstrip("=")


def opened(text: str) -> str:
    """The opposite of `sealed`; a text that is not sealed is itself. ValueError for one that was altered."""
    if not text.startswith(MARK):
        return text
    [clear] = provider().decrypt(TEXT, [base64.urlsafe_b64decode(text[1:] + "=" * (-len(text[1:]) % 4))])
    return clear

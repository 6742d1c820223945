"""How a short message leaves the platform: one small interface, chosen by the setting JINGWEI_SMS (P-7.4).

A gateway is opened for a session; the session hands messages over and takes in what the gateway has to tell.
What it must promise is little and strict: one answer for every message given, and never UNSENT, LATER or
REFUSED for a message that the gateway may have.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

ACCEPTED = "accepted"  # the gateway has it
REFUSED = "refused"  # the gateway will never take it
LATER = "later"  # the gateway did not take it now
UNSENT = "unsent"  # nothing of it left the platform
UNSURE = "unsure"  # it left, and no answer came


class GatewayDown(Exception):
    """Nothing can be handed over now, whatever the message; the text tells the operator why."""


@dataclass(frozen=True)
class Sms:
    """A message to hand over, for the `attempt`-th time. `uid` (32 hex digits) and `number` stay the same."""

    uid: str
    number: int
    to: str
    text: str
    attempt: int = 1


@dataclass(frozen=True)
class Answer:
    """What became of a message: an outcome above, the gateway's ids of its parts, its words for a refusal."""

    uid: str
    outcome: str
    gateway_ids: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Receipt:
    """What a gateway reports of a message it took. The same `event` again is the same report.

    The message is named by its `uid`, by the gateway's id, or by receiver and the tail of the sender's number
    (the last digits of Sms.number), whichever the protocol has.
    """

    event: str
    delivered: bool | None  # None: still on its way
    code: str  # the gateway's word
    uid: str = ""
    gateway_id: str = ""
    to: str = ""
    tail: str = ""
    at: datetime | None = None


@dataclass(frozen=True)
class Reply:
    """An SMS that came back. The same `event` again is the same reply."""

    event: str
    sender: str
    text: str
    uid: str = ""
    tail: str = ""
    at: datetime | None = None


class Session(Protocol):
    """An open connection to a gateway."""

    def hand_over(self, batch: Sequence[Sms]) -> Iterator[Answer]:
        """One answer for each message, in any order. After a failure the rest is UNSENT or UNSURE."""

    def listen(self):
        """Take in what waits at the gateway. GatewayDown when the connection is no more."""


class Gateway(Protocol):
    """`repeatable`: handing over the same uid again is still one SMS. `window`: messages given at once."""

    name: str
    repeatable: bool
    window: int

    def open(self, take_in: Callable[[Receipt | Reply], None]) -> AbstractContextManager[Session]:
        """Connect, or raise GatewayDown. What comes is acknowledged only after `take_in` has returned."""

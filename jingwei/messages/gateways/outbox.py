"""The development gateway: messages stay in the platform and are seen on a page (P-7.4)."""

from contextlib import contextmanager

from jingwei.messages.gateways import ACCEPTED, Answer


class OutboxGateway:
    """Takes everything; no SMS ever leaves."""

    name = "outbox"
    repeatable = True
    window = 100

    @contextmanager
    def open(self, take_in):
        yield self

    def hand_over(self, batch):
        for sms in batch:
            yield Answer(sms.uid, ACCEPTED, (sms.uid,))

    def listen(self):
        """Receipts and replies are made on the outbox page."""

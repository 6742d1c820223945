"""Sessions in the database: whose they are, from where, when they were last used (P-2.1, SEC-3).

The database knows a session by a digest of its cookie: neither a dump nor a list of sessions opens one.
"""

import hashlib
from datetime import UTC, datetime

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore
from django.utils import timezone

from jingwei.base.wall import beyond_scope


def digest_of(session_key: str) -> str:
    """What the database keeps instead of the key that the cookie holds."""
    return hashlib.blake2b(session_key.encode(), digest_size=20).hexdigest()


class SessionStore(DatabaseSessionStore):
    """Django's sessions in our table. What they hold of `begun`, `seen`, `address`, `device` are columns."""

    @classmethod
    def get_model_class(cls):
        from jingwei.directory.models import Session  # models are not ready when the engine is named

        return Session

    @beyond_scope()
    def _get_session_from_db(self):
        known = self.model.objects.filter(pk=digest_of(self.session_key), expire_date__gt=timezone.now())
        session = known.first()
        if session is None:
            self._session_key = None
        return session

    @beyond_scope()
    def exists(self, session_key):
        return self.model.objects.filter(pk=digest_of(session_key)).exists()

    def create_model_instance(self, data):
        begun, seen = (
            data.get(name) and datetime.fromtimestamp(data[name], UTC) for name in ("begun", "seen")
        )
        return self.model(
            session_key=digest_of(self._get_or_create_session_key()),
            session_data=self.encode(data),
            expire_date=self.get_expiry_date(),
            operator_id=data.get(SESSION_KEY),
            begun_at=begun,
            seen_at=seen,
            address=data.get("address", ""),
            device=data.get("device", ""),
        )

    @beyond_scope()
    def save(self, must_create=False):
        return super().save(must_create)

    @beyond_scope()
    def delete(self, session_key=None):
        key = session_key or self.session_key
        if key is not None:
            self.model.objects.filter(pk=digest_of(key)).delete()

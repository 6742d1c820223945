"""The connection to PostgreSQL; Django asks for it under this name."""

from django.db.backends.postgresql import base
from psycopg.pq import TransactionStatus

from jingwei.base import wall

_TOLD = ("role", *wall.SETTINGS)
_PLACE = "SELECT " + ", ".join(f"set_config('{name}', %s, false)" for name in _TOLD)


def forget(connection):
    """Take from a connection that goes back to the pool whatever its last user could see."""
    connection.execute(_PLACE, [wall.NOWHERE.role, *wall.NOWHERE.settings])


class DatabaseWrapper(base.DatabaseWrapper):
    """Tells the server, before a statement, where its code stands, if that has changed since the last one."""

    _told = None  # what the server knows; None: nobody can say

    def __init__(self, settings_dict, *args, **kwargs):
        super().__init__(settings_dict, *args, **kwargs)
        if pool := settings_dict["OPTIONS"].get("pool"):
            pool["reset"] = forget
        self.execute_wrappers.append(self._tell_first)

    def get_new_connection(self, conn_params):
        self._told = None
        return super().get_new_connection(conn_params)

    def _set_autocommit(self, autocommit):
        if not autocommit:
            self._tell()  # before the transaction: some statements have to be its first
        super()._set_autocommit(autocommit)

    def create_cursor(self, name=None):
        cursor = super().create_cursor(name)
        self._tell()  # for what is done without `execute`: COPY
        return cursor

    def _tell_first(self, execute, sql, params, many, context):
        self._tell()  # a cursor may be older than the last change
        return execute(sql, params, many, context)

    def _tell(self):
        if "OWNS" in self.settings_dict:  # the owner of the tables, whom row security does not concern
            return
        stand = wall.stand()
        # In a transaction that has failed only its end is possible.
        if stand != self._told and self.connection.info.transaction_status != TransactionStatus.INERROR:
            with self.wrap_database_errors:
                self.connection.execute(_PLACE, [stand.role, *stand.settings])
            self._told = stand

    def _rollback(self):
        self._told = None  # what was told inside is undone with it
        return super()._rollback()

    def _savepoint_rollback(self, sid):
        super()._savepoint_rollback(sid)
        self._told = None

"""How Django finds the operator of a session."""

from django.contrib.auth.backends import BaseBackend

from jingwei.base.wall import beyond_scope
from jingwei.directory.models import Operator


class OperatorBackend(BaseBackend):
    """Knows sessions only: names and passwords are checked by `signing_in.sign_in`, the one way in."""

    @beyond_scope()
    def get_user(self, user_id):
        """The operator with the organisation, also a disabled one, whose session the digest then ends."""
        return Operator.objects.select_related("organisation", "factor").filter(pk=user_id).first()

"""What oversight keeps of people (SEC-17)."""

from functools import reduce
from operator import or_

import pghistory.models
from django.apps import apps
from django.db.models import Exists, OuterRef, Q

from jingwei.base.personal import Columns, Kept
from jingwei.oversight.models import Erasure, ErasureRequest
from jingwei.people.personal import HISTORY_DAYS

COLUMNS = [
    Columns(
        ErasureRequest,
        purpose="证明个人信息已按申请删除",
        basis="《个人信息保护法》第四十七条",
        keep="长期",
        names=["mark", "region", "reason", "asker", "confirmed_by", "confirmer"],
        plain=["state", "confirmed_at", "ended_at", "gone", "stays", "digest"],
    )
]
PARAMETERS, HELD, STAYS = [], [], []
NOBODYS = [Erasure]

_histories = [model for model in apps.get_models() if issubclass(model, pghistory.models.Event)]
_referring = [Q(Exists(history.objects.filter(pgh_context=OuterRef("pk")))) for history in _histories]
KEPT = [
    Kept(
        "history-contexts",
        "历史记录的办理人",
        pghistory.models.Context,
        "updated_at",
        HISTORY_DAYS,
        condition=~reduce(or_, _referring),
    )
]

"""What oversight keeps of people (SEC-17)."""

from jingwei.base.personal import Columns
from jingwei.oversight.models import Erasure, ErasureRequest

COLUMNS = [
    Columns(
        ErasureRequest,
        purpose="证明个人信息已按申请删除",
        basis="《个人信息保护法》第四十七条",
        keep="长期",
        names=["mark", "region", "reason", "asker", "confirmed_by", "confirmer"],
        plain=["mark_key", "state", "confirmed_at", "ended_at", "gone", "stays", "digest"],
    )
]
PARAMETERS, KEPT, STAYS = [], [], []
NOBODYS = [Erasure]
HELD = []

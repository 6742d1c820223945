"""What running the platform keeps of people: nothing (SEC-17)."""

from jingwei.running.models import Fingerprint

COLUMNS, PARAMETERS, KEPT, HELD, STAYS = [], [], [], [], []
NOBODYS = [Fingerprint]

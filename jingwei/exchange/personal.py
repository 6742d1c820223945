"""What front databases keep of people: nothing; their rows go into the tables of others (SEC-17)."""

from jingwei.exchange.models import FrontFeed, FrontPassword, FrontSource

COLUMNS, PARAMETERS, KEPT, HELD, STAYS = [], [], [], [], []
NOBODYS = [FrontSource, FrontPassword, FrontFeed]

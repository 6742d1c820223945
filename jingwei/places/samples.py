"""One valid row per model, for tests and the shared suite: venues of the demonstration regulator."""

from itertools import count

from jingwei.base.attachments import sample_of
from jingwei.directory.models import Organisation
from jingwei.places.models import Venue, VenueAttachment, VenueThreshold

REGULATOR = "区市场监督管理局"
_numbers = count(1)


def venue(**values) -> Venue:
    number = next(_numbers)
    made = {
        "code": f"YL{number:06d}",
        "name": f"安平样例超市{number}",
        "kind": "1",
        "city": "安澜区",
        "street": "安平街道",
        "manager": "林经理",
        "position": f"{number}号",
        "longitude": 122.468,
        "latitude": 35.264,
        "regulator": Organisation.objects.get(name=REGULATOR),
        "regulator_head": "周样例",
        "regulator_phone": "16000000009",
    }
    return Venue.objects.create(**made | values)


def threshold(**values) -> VenueThreshold:
    return VenueThreshold.objects.create(venue=venue(), low=4, high=10, from_day="2026-10-11", **values)


def attachment() -> VenueAttachment:
    return sample_of(VenueAttachment, venue())


SAMPLES = {Venue: venue, VenueAttachment: attachment, VenueThreshold: threshold}

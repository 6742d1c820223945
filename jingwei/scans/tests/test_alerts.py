"""An alert is seen by its regulator, received once, told once a day (KP-6.2, KP-6.3, KP-6.4, KP-8.1)."""

from collections import Counter
from datetime import date, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from jingwei.base.models import LogEntry
from jingwei.directory.models import Organisation
from jingwei.messages.models import SmsMessage, SmsTemplate
from jingwei.places.models import VenueDay, VenueThreshold
from jingwei.places.samples import venue
from jingwei.scans.actions import ALERT_SMS, NIGHT, receive_alert, tell_regulators
from jingwei.scans.models import HIGH, LOW
from jingwei.scans.samples import alert, withdrawn_alert

pytestmark = pytest.mark.django_db
TODAY = date(2026, 11, 20)


@pytest.mark.req("KP-6.2")
def test_the_page_of_an_alert_shows_each_day_beside_its_threshold(regulator):
    raised = alert()
    VenueThreshold.objects.create(venue=raised.venue, low=4, from_day=raised.first_day)
    VenueDay.objects.create(venue_code=raised.venue.code, day=raised.first_day, count=2)
    answer = regulator.client.get(f"/alerts/{raised.pk}/")
    days = {d.day: d for d in answer.context["days"]}
    assert (days[raised.first_day].count, days[raised.first_day].low, days[raised.first_day].reason) == (
        2,
        4,
        LOW,
    )
    assert days[raised.first_day - timedelta(days=1)].low is None
    assert len(answer.context["inside"]) == 7
    page = answer.content.decode()
    assert "2026-10-24至2026-10-30" in page and 'data-chart="line"' in page


@pytest.mark.req("KP-6.3")
def test_an_alert_is_received_once_with_who_and_when(regulator):
    raised = alert()
    assert regulator.client.post("/alerts/do/receive/", {"pk": raised.pk, "confirm": "1"}).status_code == 302
    raised.refresh_from_db()
    assert raised.receiver == regulator.operator.name and raised.received_at
    with pytest.raises(ValidationError, match="已由"):
        receive_alert(regulator.actor, raised)
    assert [row.pk for row in regulator.client.get("/alerts/?tab=1").context["page"].rows] == [raised.pk]
    assert not regulator.client.get("/alerts/?tab=0").context["page"].rows
    assert LogEntry.objects.filter(resource="alerts", act="接收预警").count() == 1


@pytest.mark.req("KP-6.3")
def test_a_withdrawn_alert_is_not_received_and_says_so(regulator):
    gone = withdrawn_alert()
    with pytest.raises(ValidationError, match="已撤回"):
        receive_alert(regulator.actor, gone)
    assert regulator.client.get(f"/alerts/{gone.pk}/").status_code == 404
    assert "撤回时间" in regulator.client.get(f"/withdrawn-alerts/{gone.pk}/").content.decode()


@pytest.mark.req("KP-6.4", "P-1.6")
def test_another_units_alert_does_not_exist_on_any_face(regulator2, venueops):
    raised = alert()
    for address in (f"/alerts/{raised.pk}/", f"/alerts/do/receive/?pk={raised.pk}"):
        assert regulator2.client.get(address).status_code == 404
    assert regulator2.client.post("/alerts/do/receive/", {"pk": raised.pk, "confirm": "1"}).status_code == 404
    assert venueops.client.get(f"/alerts/{raised.pk}/").status_code == 200
    assert venueops.client.post("/alerts/do/receive/", {"pk": raised.pk, "confirm": "1"}).status_code == 403


def messages():
    return Counter(message.receiver.clear() for message in SmsMessage.objects.all())


@pytest.mark.req("KP-8.1")
def test_each_responsible_person_gets_one_message_a_day_while_alerts_wait(regulator):
    place = venue()
    first = alert(venue=place)
    alert(venue=place, reason=HIGH)
    second = alert(
        venue=venue(regulator=Organisation.objects.get(name="区商务局"), regulator_phone="16000000008")
    )
    withdrawn_alert()
    alert(venue=venue(regulator_phone=None))
    assert tell_regulators(NIGHT, TODAY) == tell_regulators(NIGHT, TODAY) == 2
    assert messages() == {"16000000009": 1, "16000000008": 1}
    message = SmsMessage.objects.get(receiver="16000000008")
    assert message.organisation_id == second.venue.regulator_id
    for each in first.venue.alerts.all():
        receive_alert(regulator.actor, each)
    tell_regulators(NIGHT, TODAY + timedelta(days=1))
    assert messages() == {"16000000009": 1, "16000000008": 2}


@pytest.mark.req("KP-8.1")
def test_a_telephone_that_gets_no_message_hinders_nobody_else():
    alert(venue=venue(regulator_phone="059512345678"))
    alert(venue=venue(regulator_phone="16000000008"))
    assert tell_regulators(NIGHT, TODAY) == 1
    assert messages() == {"16000000008": 1}
    assert LogEntry.objects.filter(resource="alerts", act="发送短信", result="失败").exists()


@pytest.mark.req("KP-8.1")
def test_the_words_are_the_administrators_and_the_hour_a_parameter():
    alert()
    tell_regulators(NIGHT, timezone.localdate() + timedelta(days=3))
    [message] = SmsMessage.objects.all()
    assert timezone.localtime(message.not_before).hour == 9
    template = SmsTemplate.objects.get(code=ALERT_SMS)
    SmsTemplate.objects.filter(pk=template.pk).update(text="有预警，请查看。")
    tell_regulators(NIGHT, timezone.localdate() + timedelta(days=4))
    assert SmsMessage.objects.order_by("pk").last().content.clear() == "有预警，请查看。"

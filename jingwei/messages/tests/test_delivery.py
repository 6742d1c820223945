"""Hand-over, receipts and replies: a real database and gateways that speak the protocols (P-7.2, P-7.4)."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from jingwei.base.access import platform_actor
from jingwei.base.models import Job
from jingwei.desk import jobs
from jingwei.desk.tasks import KINDS, run_scheduled
from jingwei.messages import actions, delivery, tasks
from jingwei.messages.gateways import REFUSED, Answer, Receipt, Reply
from jingwei.messages.gateways.cmpp import CmppGateway
from jingwei.messages.gateways.http import HttpGateway
from jingwei.messages.gateways.outbox import OutboxGateway
from jingwei.messages.models import Outage, SmsMessage, SmsReceipt, SmsReply, SmsTemplate
from jingwei.messages.tests.standins import SECRET, TOO_LATE, CmppStandIn, HttpStandIn, report

pytestmark = pytest.mark.django_db
TIMER = platform_actor("定时任务")
PHONE = "13800000001"


def send(text, to=PHONE, **options):
    words = {"text": "{内容}", "visible": ["内容"]}
    template, _ = SmsTemplate.objects.get_or_create(name="通知", defaults=words)
    return actions.send(TIMER, template, to=to, values={"内容": text}, **options)


def http(standin):
    return HttpGateway(standin.url, SECRET, timeout=TOO_LATE / 2)


def cmpp(standin, **options):
    return CmppGateway(standin.url(**options), SECRET, answer_seconds=TOO_LATE / 2, quiet_seconds=0.05)


def time_passes():
    """As if hours had gone by: claims have run out, waits are over."""
    long_ago = timezone.now() - timedelta(hours=1)
    SmsMessage.objects.filter(state=SmsMessage.SENDING).update(claimed_until=long_ago)
    SmsMessage.objects.update(retry_at=None)


def states():
    return list(SmsMessage.objects.order_by("pk").values_list("state", flat=True))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("jingwei.messages.gateways.cmpp.BUSY_SECONDS", 0.01)
    monkeypatch.setattr("jingwei.messages.delivery.BUSY_SECONDS", 0.01)


@pytest.fixture(params=["http", "cmpp"])
def standin(request):
    with {"http": HttpStandIn, "cmpp": CmppStandIn}[request.param]() as server:
        server.gateway = http(server) if request.param == "http" else cmpp(server)
        yield server


@pytest.mark.req("P-7.2", "P-7.3")
def test_what_waits_is_handed_over_in_order_and_once(standin):
    for number in range(40):
        send(f"第{number}条", to=f"1380000{number % 3:04d}")
    delivery.deliver(standin.gateway)
    delivery.deliver(standin.gateway)
    assert set(states()) == {SmsMessage.SENT} and standin.tries == 40
    for number in range(3):
        assert standin.texts(f"1380000{number:04d}") == [f"第{n}条" for n in range(40) if n % 3 == number]
    assert SmsMessage.objects.filter(sent_at=None).count() == 0


@pytest.mark.req("P-7.2")
def test_a_message_for_later_waits_and_holds_nobody_up(standin):
    send("明早", not_before=timezone.now() + timedelta(hours=12))
    send("现在")
    delivery.deliver(standin.gateway)
    assert standin.texts() == ["现在"] and states() == [SmsMessage.WAITING, SmsMessage.SENT]


@pytest.mark.req("P-7.4")
def test_a_gateway_that_was_down_for_hours_gets_everything_in_order_and_once(standin):
    standin.down = True
    for number in range(6):
        send(f"第{number}条", to=f"1380000000{number % 2}")
        delivery.deliver(standin.gateway)
    assert "网关" in Outage.objects.get().error and standin.texts() == []
    assert set(states()) == {SmsMessage.WAITING}
    standin.down = False
    time_passes()
    for _ in range(6):
        delivery.deliver(standin.gateway)
    assert set(states()) == {SmsMessage.SENT}
    assert standin.texts("13800000000") == ["第0条", "第2条", "第4条"]
    assert standin.texts("13800000001") == ["第1条", "第3条", "第5条"]
    assert not Outage.objects.exists()


@pytest.mark.req("P-7.4", "P-6.3")
def test_what_waits_too_long_stands_in_the_job_centre_and_is_sent_at_a_click(sysadmin, monkeypatch):
    send("刚才")
    SmsMessage.objects.update(not_before=timezone.now() - delivery.OVERDUE / 2)
    run_scheduled(timestamp=0, kind="sms-overdue")
    assert not Job.objects.exists()
    SmsMessage.objects.update(not_before=timezone.now() - delivery.OVERDUE * 2)
    run_scheduled(timestamp=0, kind="sms-overdue")
    assert Job.objects.get().label == "发送短信"
    assert "发送短信" in sysadmin.client.get("/jobs-of-all/").content.decode()
    assert sysadmin.client.post("/jobs-of-all/run/sms-overdue/").status_code == 302
    kinds = {name: kind.work for name, kind in KINDS.items()}
    with HttpStandIn() as server:
        monkeypatch.setattr("jingwei.messages.tasks.chosen_gateway", lambda: http(server))
        for down in (True, False):
            server.down = down
            time_passes()
            jobs.run(kinds, Job.objects.filter(state=Job.WAITING).order_by("pk").first().pk)
        assert server.texts() == ["刚才"]
    failed, done = Job.objects.order_by("pk")
    assert (failed.state, done.state) == (Job.FAILED, Job.DONE)
    assert "短信仍在等待" in failed.message and done.message == "已提交 1 条短信。"


@pytest.mark.req("P-7.3")
def test_a_refusal_is_in_the_log_and_is_not_tried_again(standin):
    message = send("x")
    standin.fault = lambda _: "refused"
    delivery.deliver(standin.gateway)
    message.refresh_from_db()
    assert message.state == SmsMessage.FAILED and message.error in ("号码在黑名单中", "其它错误（9）")
    time_passes()
    delivery.deliver(standin.gateway)
    assert standin.tries == 1


@pytest.mark.req("P-4.1", "SEC-13")
def test_a_number_in_the_words_of_a_gateway_is_masked():
    gateway = OutboxGateway()
    message = send("x")
    delivery.claim(gateway)
    refusal = Answer(message.uid.hex, REFUSED, error=f"号码{PHONE}在黑名单中")
    delivery.record_answer(gateway, refusal, 1)
    message.refresh_from_db()
    assert message.error == "号码138****0001在黑名单中"


@pytest.mark.req("P-7.4")
def test_a_busy_gateway_is_tried_again_later_and_later(quick):
    with HttpStandIn(fault=lambda _: "busy") as standin:
        message = send("x")
        waits = []
        for _ in range(9):
            delivery.deliver(http(standin))
            message.refresh_from_db()
            waits.append(round((message.retry_at - timezone.now()).total_seconds() / 30))
            time_passes()
        assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
        assert (message.state, message.error) == (SmsMessage.WAITING, "请稍后再试")
        standin.fault = lambda _: ""
        delivery.deliver(http(standin))
    assert states() == [SmsMessage.SENT] and standin.texts() == ["x"]


@pytest.mark.req("P-7.2")
def test_a_late_http_gateway_is_asked_again_under_the_same_key():
    with HttpStandIn(fault=lambda _: "late") as standin:
        send("x")
        delivery.deliver(http(standin))
        assert states() == [SmsMessage.WAITING]
        standin.fault = lambda _: ""
        time_passes()
        delivery.deliver(http(standin))
        assert states() == [SmsMessage.SENT] and standin.tries == 2 and standin.texts() == ["x"]


@pytest.mark.req("P-7.2")
def test_a_late_cmpp_gateway_leaves_the_message_in_doubt_until_its_report():
    with CmppStandIn(fault=lambda _: "late", reports="after") as standin:
        message = send("x")
        delivery.deliver(cmpp(standin, extension=6))
        assert states() == [SmsMessage.UNSURE]
        standin.fault = lambda _: ""
        time.sleep(TOO_LATE)
        time_passes()
        delivery.deliver(cmpp(standin, extension=6))
        message.refresh_from_db()
        assert message.state == SmsMessage.DELIVERED and message.sent_at and message.delivered_at
        assert standin.tries == 1


@pytest.mark.req("P-7.2")
def test_a_cmpp_gateway_that_refuses_repeats_is_asked_again():
    with CmppStandIn(fault=lambda _: "after", remembers=True) as standin:
        send("x")
        gateway = cmpp(standin, repeats="refused")
        delivery.deliver(gateway)
        assert states() == [SmsMessage.WAITING]
        standin.fault = lambda _: ""
        time_passes()
        delivery.deliver(gateway)
        assert states() == [SmsMessage.SENT] and standin.tries == 2 and standin.texts() == ["x"]


@pytest.mark.req("P-7.4")
def test_a_message_that_breaks_the_gateway_holds_up_nobody_else():
    with HttpStandIn(fault=lambda sms: "before" if sms["text"] == "毒" else "") as standin:
        send("毒", to="13800000002")
        send("好")
        delivery.deliver(http(standin))
        assert standin.texts() == []
        delivery.deliver(http(standin))
        assert standin.texts() == ["好"]


@pytest.mark.req("P-7.2")
def test_a_cancelled_message_is_not_handed_over(standin):
    message = send("x")
    actions.cancel(TIMER, message)
    delivery.deliver(standin.gateway)
    assert standin.tries == 0 and states() == [SmsMessage.CANCELLED]


@pytest.mark.req("P-7.2")
def test_a_message_cancelled_after_a_try_that_arrived_says_so():
    with HttpStandIn(fault=lambda _: "after") as standin:
        message = send("x")
        delivery.deliver(http(standin))
        message.refresh_from_db()
        actions.cancel(TIMER, message)
        standin.report(message.uid.hex, event="e")
        delivery.deliver(http(standin))
        assert states() == [SmsMessage.DELIVERED]


@pytest.mark.req("P-7.2")
def test_a_worker_whose_claim_has_run_out_has_no_say():
    message = send("x")
    gateway = OutboxGateway()
    [old] = delivery.claim(gateway)
    time_passes()
    delivery.settle_lost_claims(gateway)
    [new] = delivery.claim(gateway)
    assert (old.attempt, new.attempt) == (1, 2)
    delivery.record_answer(gateway, Answer(old.uid, REFUSED, error="x"), old.attempt)
    message.refresh_from_db()
    assert message.state == SmsMessage.SENDING


@pytest.mark.req("P-7.2")
def test_a_claim_of_another_gateway_is_not_given_to_this_one():
    """Whoever changes the gateway while messages are on their way: nothing is sent twice by two of them."""
    send("x")
    delivery.claim(OutboxGateway())
    time_passes()
    with HttpStandIn() as standin:
        delivery.deliver(http(standin))
        assert states() == [SmsMessage.UNSURE] and standin.tries == 0


# --- receipts


@pytest.mark.req("P-7.2", "P-7.3")
@pytest.mark.parametrize(
    ("delivered", "code", "state", "error"),
    [
        (True, "DELIVRD", SmsMessage.DELIVERED, ""),
        (False, "UNDELIV", SmsMessage.FAILED, "未送达（UNDELIV）"),
        (None, "ACCEPTD", SmsMessage.SENT, ""),
    ],
)
def test_a_receipt_says_what_became_of_a_message(delivered, code, state, error):
    with HttpStandIn() as standin:
        message = send("x")
        delivery.deliver(http(standin))
        for _ in range(2):  # the same event twice is one receipt
            standin.report(message.uid.hex, event="e1", delivered=delivered, code=code)
            delivery.deliver(http(standin))
        message.refresh_from_db()
        assert (message.state, message.error) == (state, error)
        assert SmsReceipt.objects.count() == 1
        assert (message.delivered_at is not None) == (state == SmsMessage.DELIVERED)


@pytest.mark.req("P-7.2")
def test_a_later_receipt_does_not_take_a_delivery_back():
    message = send("x")
    delivery.deliver(OutboxGateway())
    delivery.take_in("outbox", Receipt("1", True, "DELIVRD", uid=message.uid.hex))
    delivery.take_in("outbox", Receipt("2", False, "EXPIRED", uid=message.uid.hex))
    assert states() == [SmsMessage.DELIVERED]


@pytest.mark.req("P-7.2")
@pytest.mark.parametrize("reports", ["early", "after"])
def test_a_long_message_is_delivered_when_all_its_parts_are(reports):
    with CmppStandIn(reports=reports) as standin:
        message = send("长" * 150)
        delivery.deliver(cmpp(standin))
        delivery.deliver(cmpp(standin))
        message.refresh_from_db()
        assert message.parts == 3 == len(message.gateway_ids) == SmsReceipt.objects.count()
        assert message.state == SmsMessage.DELIVERED and standin.texts() == ["长" * 150]


@pytest.mark.req("P-7.2")
def test_one_part_that_fails_fails_the_message():
    with CmppStandIn() as standin:
        message = send("长" * 150)
        delivery.deliver(cmpp(standin))
        message.refresh_from_db()
        for index, code in enumerate([b"DELIVRD", b"UNDELIV", b"DELIVRD"]):
            standin.waiting.append(report(bytes.fromhex(message.gateway_ids[index]), "10690001", PHONE, code))
        delivery.deliver(cmpp(standin))
        message.refresh_from_db()
        assert (message.state, message.error) == (SmsMessage.FAILED, "未送达（UNDELIV）")


@pytest.mark.req("P-7.2")
def test_a_report_without_a_known_id_names_only_the_message_it_can_mean():
    """Two messages to one number are in doubt: the extension digits tell them apart, nothing else does."""
    with CmppStandIn(fault=lambda _: "after") as standin:
        send("一")
        second = send("二")
        delivery.deliver(cmpp(standin, extension=6))
        delivery.deliver(cmpp(standin, extension=6))
        assert states() == [SmsMessage.UNSURE] * 2
        standin.fault = lambda _: ""
        standin.waiting = [report(b"\x07" * 8, "10690001", PHONE)]
        delivery.deliver(cmpp(standin, extension=6))
        assert states() == [SmsMessage.UNSURE] * 2
        standin.waiting = [report(b"\x08" * 8, f"10690001{second.pk % 10**6:06d}", PHONE)]
        delivery.deliver(cmpp(standin, extension=6))
        assert states() == [SmsMessage.UNSURE, SmsMessage.DELIVERED]


@pytest.mark.req("SEC-12")
def test_a_receipt_for_nobody_changes_nothing():
    send("x")
    delivery.take_in("cmpp", Receipt("1", True, "DELIVRD", gateway_id="00" * 8, to="13999999999"))
    delivery.take_in("http", Receipt("2", True, "DELIVRD", uid="0" * 32))
    assert states() == [SmsMessage.WAITING]


# --- replies


@pytest.mark.req("P-7.2")
def test_a_reply_is_kept_with_its_message():
    with CmppStandIn() as standin:
        message = send("请回复")
        send("别的", to="13800000002")
        delivery.deliver(cmpp(standin, extension=6))
        standin.reply(f"86{PHONE}", "收到", to=f"10690001{message.pk % 10**6:06d}")
        delivery.deliver(cmpp(standin, extension=6))
    reply = SmsReply.objects.get()
    assert (reply.message, reply.text, reply.sender) == (message, "收到", PHONE)
    message.refresh_from_db()
    assert message.answered_at


@pytest.mark.req("P-7.1")
def test_an_answer_sends_the_next_template_once():
    last = SmsTemplate.objects.create(name="致谢", text="{姓名}，已记录：{回复}", visible=["回复"])
    first = SmsTemplate.objects.create(name="询问", text="{姓名}，请回复您的体温", next=last)
    with HttpStandIn() as standin:
        message = actions.send(TIMER, first, to=PHONE, name="李四")
        delivery.deliver(http(standin))
        for event, text in [("e1", "36.5\r\n"), ("e1", "36.5\r\n"), ("e2", "36.6")]:
            reply = {"event": event, "kind": "reply", "id": message.uid.hex, "from": PHONE, "text": text}
            standin.events.append(reply)
            delivery.deliver(http(standin))
        delivery.deliver(http(standin))
        assert standin.texts() == ["李四，请回复您的体温", "李四，已记录：36.5"]
    assert SmsReply.objects.count() == 2
    following = SmsMessage.objects.get(follows=message)
    assert following.shown == "李四，已记录：36.5"


@pytest.mark.req("P-7.1")
def test_an_answer_to_a_template_that_only_sends_sends_nothing():
    message = send("请知悉")
    delivery.deliver(OutboxGateway())
    delivery.take_in("outbox", Reply("1", PHONE, "收到", uid=message.uid.hex))
    assert SmsMessage.objects.count() == 1


@pytest.mark.req("P-7.2")
def test_a_reply_to_nothing_is_kept_and_answers_nothing():
    delivery.take_in("outbox", Reply("1", "13999999999", "你好"))
    assert SmsReply.objects.get().message is None


# --- at most one, and none lost


class Killed(BaseException):
    """A worker that is killed at this very moment."""


class Mortal:
    """A gateway whose worker may be killed anywhere: between claim, hand-over, answer and its recording."""

    def __init__(self, gateway, chance):
        self.gateway, self.chance = gateway, chance
        self.name, self.repeatable, self.window = gateway.name, gateway.repeatable, gateway.window

    def _risk(self):
        if self.chance() < 0.08:
            raise Killed

    @contextmanager
    def open(self, take_in):
        self._risk()

        def take(news):
            self._risk()
            take_in(news)
            self._risk()

        with self.gateway.open(take) as session:
            self.session = session
            yield self

    def hand_over(self, batch):
        self._risk()
        for answer in self.session.hand_over(batch):
            self._risk()
            yield answer

    def listen(self):
        self.session.listen()


def work(gateway, rounds):
    """A worker that is started anew whenever it is killed."""
    for _ in range(rounds):
        try:
            delivery.deliver(gateway)
        except Killed:
            pass
    connection.close()


FAULTS = ["", "", "", "", "before", "after", "late", "busy"]


def suffer(standin, gateway, seed, *, count=40):
    """Two workers, killed again and again, and a gateway that errs in every way; then quiet."""
    chance = random.Random(seed)
    lock = threading.Lock()

    def draw():
        with lock:
            return chance.random()

    standin.fault = lambda sms: FAULTS[int(draw() * len(FAULTS))]
    standin.holding = True
    for number in range(count):
        send(f"第{number}条", to=f"1380000{number % 7:04d}", key=f"seed-{seed}/{number}")
    for _ in range(4):
        workers = [threading.Thread(target=work, args=[Mortal(gateway, draw), 4]) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        time_passes()
        for number in range(0, count, 5):  # somebody asks again for what was asked for already
            send(f"第{number}条", to=f"1380000{number % 7:04d}", key=f"seed-{seed}/{number}")
    standin.fault, standin.holding = lambda sms: "", False
    time.sleep(TOO_LATE)
    for _ in range(count):
        time_passes()
        delivery.deliver(gateway)
        if not set(states()) & {SmsMessage.WAITING, SmsMessage.SENDING}:
            break
    delivery.deliver(gateway)
    assert SmsMessage.objects.count() == count


@pytest.mark.req("P-7.2", "P-7.4")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", range(2))
def test_crashes_and_lateness_send_nothing_twice_and_lose_nothing_over_http(seed, quick):
    with HttpStandIn() as standin:
        suffer(standin, http(standin), seed)
        assert sorted(standin.texts()) == sorted(f"第{number}条" for number in range(40))
        assert set(states()) == {SmsMessage.SENT} and standin.tries > 40
        for number in range(7):
            assert standin.texts(f"1380000{number:04d}") == [f"第{n}条" for n in range(number, 40, 7)]


@pytest.mark.req("P-7.2", "P-7.4")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", range(2))
def test_crashes_and_lateness_send_nothing_twice_and_lose_nothing_over_cmpp_with_repeats_refused(seed, quick):
    with CmppStandIn(remembers=True, reports="after") as standin:
        suffer(standin, cmpp(standin, extension=6, repeats="refused"), seed)
        assert sorted(standin.texts()) == sorted(f"第{number}条" for number in range(40))
        assert set(states()) == {SmsMessage.DELIVERED}


@pytest.mark.req("P-7.2", "P-7.4")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", range(2))
def test_over_plain_cmpp_what_arrived_is_known_by_its_report_and_the_rest_stays_in_doubt(seed, quick):
    with CmppStandIn(reports="after") as standin:
        suffer(standin, cmpp(standin, extension=6), seed)
        assert len(set(standin.texts())) == len(standin.texts())
        known = SmsMessage.objects.filter(state=SmsMessage.DELIVERED)
        assert {message.content.clear() for message in known} == set(standin.texts())
        assert set(states()) <= {SmsMessage.DELIVERED, SmsMessage.UNSURE}


def session_is_free():
    """Whether the database has noticed that the worker with the session is gone."""
    with delivery.no_other_session() as free:
        return free


@pytest.mark.req("P-7.2")
@pytest.mark.django_db(transaction=True)
def test_a_worker_killed_in_the_middle_of_a_hand_over_sends_nothing_twice(settings):
    """A real process and a real kill -9: once the gateway has the message, and before it answers."""
    with HttpStandIn(fault=lambda _: "late") as standin:
        send("x", key="the-one")
        program = "import django; django.setup(); from jingwei.messages import tasks; tasks.deliver_waiting()"
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "jingwei.settings",
            "JINGWEI_HOME": str(settings.JINGWEI_HOME),
            "JINGWEI_SMS": "http",
            "JINGWEI_SMS_URL": standin.url,
            "JINGWEI_SMS_SECRET": SECRET,
        }
        worker = subprocess.Popen([sys.executable, "-c", program], env=environment)
        end = time.monotonic() + 60
        while not standin.phones and time.monotonic() < end:
            time.sleep(0.01)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        assert states() == [SmsMessage.SENDING] and standin.texts() == ["x"]
        standin.fault = lambda _: ""
        settings.JINGWEI_SMS, settings.JINGWEI_SMS_URL = "http", standin.url
        settings.JINGWEI_SMS_SECRET = SECRET
        while not session_is_free() and time.monotonic() < end:
            time.sleep(0.01)
        tasks.deliver_waiting()
        assert states() == [SmsMessage.SENDING]  # its claim still holds
        time_passes()
        tasks.deliver_waiting()
        assert states() == [SmsMessage.SENT] and standin.texts() == ["x"] and standin.tries == 2


@pytest.mark.req("P-7.4")
@pytest.mark.django_db(transaction=True)
def test_two_workers_do_not_open_two_sessions():
    send("x")
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [delivery.LOCK])
        tasks.deliver_waiting()
        assert states() == [SmsMessage.WAITING]
        cursor.execute("SELECT pg_advisory_unlock(%s)", [delivery.LOCK])
    other.close()
    tasks.deliver_waiting()
    assert states() == [SmsMessage.SENT]


@pytest.mark.req("P-7.2")
@pytest.mark.django_db(transaction=True)
def test_the_worker_of_the_platform_delivers_what_is_sent():
    """Through the queue as it runs: what a sending defers is done by a worker of procrastinate."""
    send("x")
    call_command("procrastinate", "worker", wait=False, listen_notify=False, verbosity=0)
    assert states() == [SmsMessage.SENT]

"""What each gateway says of a message when all goes well, and when it does not (P-7.4)."""

import socket
import threading
import time

import pytest
from django.core.exceptions import ImproperlyConfigured

from jingwei.messages.gateways import (
    ACCEPTED,
    LATER,
    REFUSED,
    UNSENT,
    UNSURE,
    GatewayDown,
    Receipt,
    Reply,
    Sms,
)
from jingwei.messages.gateways.cmpp import CmppGateway, read_deliver
from jingwei.messages.gateways.http import HttpGateway, read_events
from jingwei.messages.tests.standins import SECRET, TOO_LATE, CmppStandIn, HttpStandIn, deliver

pytestmark = pytest.mark.req("P-7.4")
PATIENCE = TOO_LATE / 2


def sms(number, text=None, **options):
    return Sms(f"{number:032x}", number, f"138000000{number % 100:02d}", text or f"第{number}条", **options)


def http(standin, secret=SECRET):
    return HttpGateway(standin.url, secret, timeout=PATIENCE)


def cmpp(standin, secret=SECRET, **options):
    return CmppGateway(standin.url(**options), secret, answer_seconds=PATIENCE, quiet_seconds=0.1)


def hand_over(gateway, *batch, news=None):
    """{number: answer}; GatewayDown is in the answers already."""
    answers = {}
    try:
        with gateway.open(news.append if news is not None else lambda _: None) as session:
            for answer in session.hand_over(batch):
                answers[int(answer.uid, 16)] = answer
    except GatewayDown:
        pass
    return answers


@pytest.fixture(params=["http", "cmpp"])
def standin(request):
    with {"http": HttpStandIn, "cmpp": CmppStandIn}[request.param]() as server:
        server.gateway = http(server) if request.param == "http" else cmpp(server)
        yield server


def test_what_is_handed_over_arrives(standin):
    answers = hand_over(standin.gateway, *map(sms, range(1, 41)))
    assert {answer.outcome for answer in answers.values()} == {ACCEPTED} and len(answers) == 40
    assert sorted(standin.texts()) == sorted(f"第{number}条" for number in range(1, 41))
    assert all(answer.gateway_ids for answer in answers.values())


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [("before", UNSURE), ("after", UNSURE), ("late", UNSURE), ("refused", REFUSED)],
)
def test_a_fault_gets_the_honest_answer(standin, fault, outcome):
    standin.fault = lambda _: fault
    answer = hand_over(standin.gateway, sms(1))[1]
    assert answer.outcome == outcome and answer.error


def test_a_busy_http_gateway_means_later():
    with HttpStandIn(fault=lambda _: "busy") as standin:
        answers = hand_over(http(standin), sms(1), sms(2))
    assert [answers[n].outcome for n in (1, 2)] == [LATER, LATER]


def test_what_never_left_is_unsent(standin):
    standin.fault = lambda _: "after"
    batch = [sms(number) for number in range(1, 101)]
    answers = hand_over(standin.gateway, *batch)
    assert len(answers) == 100
    assert {answers[n].outcome for n in answers} == {UNSURE, UNSENT}
    came = {int(text[1:-1]) for text in standin.texts()}
    assert all(answers[number].outcome == UNSURE for number in came)


def test_a_gateway_that_is_down_is_told_in_words(standin):
    standin.server.shutdown()
    standin.server.server_close()
    with pytest.raises(GatewayDown, match="连接不上短信网关"), standin.gateway.open(lambda _: None):
        pass


def test_a_wrong_secret_fails_no_message():
    with HttpStandIn() as standin:
        gateway = http(standin, "wrong")
        answers = []
        with pytest.raises(GatewayDown, match="账号、密钥"), gateway.open(lambda _: None) as session:
            answers += session.hand_over([sms(1), sms(2)])
        assert standin.phones == []
    with CmppStandIn() as standin, pytest.raises(GatewayDown, match="认证错"):
        with cmpp(standin, "wrong").open(lambda _: None):
            pass


# --- HTTP


def test_the_same_key_is_one_sms_over_http():
    with HttpStandIn(fault=lambda _: "after") as standin:
        hand_over(http(standin), sms(1))
        standin.fault = lambda _: ""
        assert hand_over(http(standin), sms(1, attempt=2))[1].outcome == ACCEPTED
        assert standin.tries == 2 and standin.texts() == ["第1条"]


def test_receipts_are_fetched_until_none_is_left():
    with HttpStandIn() as standin:
        for number in range(250):
            standin.report("0" * 31 + "1", event=f"e{number}")
        standin.events.insert(0, {"event": "odd", "kind": "?"})
        news = []
        with http(standin).open(news.append) as session:
            session.listen()
        assert [receipt.event for receipt in news] == [f"e{number}" for number in range(250)]
        assert standin.events == [] and "odd" in standin.fetched


def test_receipts_are_not_acknowledged_before_they_are_stored():
    with HttpStandIn() as standin:
        standin.report("0" * 31 + "1", event="e")

        def fail(news):
            raise RuntimeError("the database is gone")

        with pytest.raises(RuntimeError), http(standin).open(fail) as session:
            session.listen()
        assert len(standin.events) == 1


@pytest.mark.req("SEC-12")
@pytest.mark.parametrize(
    "event",
    [
        {},
        {"event": 1},
        {"event": "e"},
        {"event": "e", "kind": "receipt"},
        {"event": "e", "kind": "receipt", "id": "../../1"},
        {"event": "e", "kind": "reply", "from": ""},
        {"event": "e", "kind": "reply", "from": None, "text": "x"},
        "e",
        None,
    ],
)
def test_an_odd_event_is_no_news(event):
    assert [news for _, news in read_events({"events": [event]}) if news] == []
    assert list(read_events({"events": event})) == []


@pytest.mark.req("SEC-12")
def test_what_no_database_can_hold_is_taken_out():
    event = {"event": "e\0\ud800", "kind": "reply", "from": "13800000001", "text": "a\0b\udfff"}
    for at in ("x", 1, None, "2026-03-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        [(_, reply)] = read_events({"events": [event | {"at": at}]})
        assert (reply.event, reply.text, reply.at) == ("e?", "ab?", None)


def test_a_gateway_that_repeats_its_events_for_ever_is_left(monkeypatch):
    monkeypatch.setattr("jingwei.messages.gateways.http.LISTEN_SECONDS", 0.3)
    with HttpStandIn() as standin:
        standin.forgets = True
        standin.report("0" * 31 + "1", event="e")
        with http(standin).open(lambda news: None) as session:
            session.listen()
        assert len(standin.events) == 1 and standin.fetched


# --- CMPP


def test_cmpp_signs_in_as_the_specification_says():
    """By the example account and secret with which implementations of CMPP are commonly tried."""
    caught = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def catch():
            connection, _ = server.accept()
            caught.append(connection.recv(100))
            connection.close()

        thread = threading.Thread(target=catch)
        thread.start()
        gateway = CmppGateway(f"cmpp://900001@127.0.0.1:{server.getsockname()[1]}", "888888")
        with pytest.raises(GatewayDown), gateway.open(lambda _: None):
            pass
        thread.join()
    import hashlib

    [pdu] = caught
    assert pdu[:8] == bytes.fromhex("0000002700000001") and pdu[12:18] == b"900001" and pdu[34] == 0x20
    stamp = f"{int.from_bytes(pdu[35:39], 'big'):010d}"
    assert pdu[18:34] == hashlib.md5(b"900001" + bytes(9) + b"888888" + stamp.encode()).digest()
    # The proof for the stamp 1021080510 is published; it ties the formula above to the specification.
    known = hashlib.md5(b"900001" + bytes(9) + b"888888" + b"1021080510").hexdigest()
    assert known == "90d00c1d517abd0b4f65f6bcf8535d16"


def test_a_submit_has_the_fields_of_the_specification():
    with CmppStandIn() as standin:
        hand_over(cmpp(standin, extension=4), sms(123456))
        [submit] = standin.submits
    assert submit["sp"] == "901234" and submit["service"] == "JW" and submit["registered"] == 1
    assert submit["src"] == "106900013456" and submit["format"] == 8 and submit["receivers"] == 1


@pytest.mark.req("P-7.1")
def test_a_long_message_is_joined_again_by_the_phone():
    text = "防疫提醒" * 50 + "𬭎"
    with CmppStandIn() as standin:
        answer = hand_over(cmpp(standin), sms(1, text))[1]
        assert answer.outcome == ACCEPTED and len(answer.gateway_ids) == 4
        assert standin.texts() == [text] and len(standin.submits) == 4


def test_a_gateway_that_does_not_know_the_secret_gets_nothing():
    """The gateway proves itself as well: a false one would read every message."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def impostor():
            connection, _ = server.accept()
            request = connection.recv(100)
            connection.sendall(bytes.fromhex("0000001e80000001") + request[8:12] + bytes(17) + b"\x20")
            time.sleep(0.2)
            connection.close()

        threading.Thread(target=impostor, daemon=True).start()
        gateway = CmppGateway(f"cmpp://901234@127.0.0.1:{server.getsockname()[1]}", SECRET, answer_seconds=1)
        with pytest.raises(GatewayDown, match="没有通过认证"), gateway.open(lambda _: None):
            pass


def test_flow_control_is_waited_for(monkeypatch):
    monkeypatch.setattr("jingwei.messages.gateways.cmpp.BUSY_SECONDS", 0.05)
    times = iter(["busy", "busy", ""])
    with CmppStandIn(fault=lambda _: next(times, "")) as standin:
        answers = hand_over(cmpp(standin), sms(1), sms(2), sms(3))
        assert {answer.outcome for answer in answers.values()} == {ACCEPTED}
        assert len(standin.phones) == 3 and standin.tries == 5


def test_a_cmpp_gateway_that_stays_busy_means_later(monkeypatch):
    monkeypatch.setattr("jingwei.messages.gateways.cmpp.BUSY_SECONDS", 0.01)
    with CmppStandIn(fault=lambda _: "busy") as standin:
        assert hand_over(cmpp(standin), sms(1))[1].outcome == LATER


def test_a_repeated_number_counts_as_taken_only_at_a_second_try():
    with CmppStandIn(remembers=True) as standin:
        hand_over(cmpp(standin), sms(1))
        assert hand_over(cmpp(standin), sms(1, attempt=2))[1].outcome == ACCEPTED
        assert hand_over(cmpp(standin), sms(1))[1].outcome == REFUSED
        assert standin.texts() == ["第1条"]


def test_receipts_and_replies_come_on_the_same_connection():
    with CmppStandIn(reports="after") as standin:
        standin.reply("8613800000007", "收到👍", to="106900010042")
        news = []
        with cmpp(standin, extension=4).open(news.append) as session:
            [answer] = session.hand_over([sms(1)])
            session.listen()
        assert standin.active_tests == 1 and standin.terminated == 1
        assert len(standin.acknowledged) == 2 and standin.waiting == []
    receipt = next(one for one in news if isinstance(one, Receipt))
    reply = next(one for one in news if isinstance(one, Reply))
    assert (receipt.gateway_id,) == answer.gateway_ids and receipt.delivered and receipt.tail == "0001"
    assert f"{receipt.at:%Y-%m-%d %H:%M %z}" == "2026-03-01 09:00 +0800"
    assert (reply.sender, reply.text, reply.tail) == ("13800000007", "收到👍", "0042")


def test_what_is_not_stored_comes_again():
    with CmppStandIn() as standin:
        standin.reply("13800000007", "收到")

        def fail(news):
            raise RuntimeError("the database is gone")

        with pytest.raises(RuntimeError), cmpp(standin).open(fail) as session:
            session.listen()
        news = []
        with cmpp(standin).open(news.append) as session:
            session.listen()
        assert [one.text for one in news] == ["收到"]


def test_a_silent_gateway_is_noticed():
    """It accepts the connection and says nothing; nobody waits for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"cmpp://901234@127.0.0.1:{server.getsockname()[1]}"
        began = time.monotonic()
        gateway = CmppGateway(address, SECRET, answer_seconds=0.2)
        with pytest.raises(GatewayDown, match="没有应答登录"), gateway.open(lambda _: None):
            pass
        assert time.monotonic() - began < 2


@pytest.mark.req("SEC-12")
@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(64), b"\xff" * 64])
def test_what_is_no_cmpp_ends_the_session(answer):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk():
            connection, _ = server.accept()
            connection.recv(100)
            connection.sendall(answer)
            time.sleep(0.3)
            connection.close()

        threading.Thread(target=talk, daemon=True).start()
        gateway = CmppGateway(f"cmpp://901234@127.0.0.1:{server.getsockname()[1]}", SECRET, answer_seconds=1)
        with pytest.raises(GatewayDown), gateway.open(lambda _: None):
            pass


@pytest.mark.req("SEC-12")
def test_a_malformed_deliver_is_no_news():
    whole = deliver(b"\x01" * 8, "10690001", 8, "13800000001", 0, "好".encode("utf-16-be"))
    assert read_deliver(whole, "10690001").text == "好"
    assert all(read_deliver(whole[:length], "10690001") is None for length in range(65))
    assert read_deliver(deliver(b"\x01" * 8, "1069", 0, "13800000001", 1, b"short"), "1069") is None
    assert read_deliver(deliver(b"\x01" * 8, "1069", 0, "", 0, b"x"), "1069") is None
    odd = read_deliver(deliver(b"\x01" * 8, "1069", 99, "13800000001", 0, b"a\0\xff"), "1069")
    assert odd.text == "aÿ"


@pytest.mark.parametrize(
    "address",
    [
        "http://901234@127.0.0.1",
        "cmpp://127.0.0.1",
        "cmpp://12345678@127.0.0.1",
        "cmpp://901234@127.0.0.1?extension=four",
        "cmpp://901234@127.0.0.1?src=10690000123456789&extension=6",
        "cmpp://901234@127.0.0.1?service=%E7%9F%AD",
    ],
)
def test_an_address_that_does_not_fit_cmpp_stops_the_start(address):
    with pytest.raises(ImproperlyConfigured, match="JINGWEI_SMS_URL"):
        CmppGateway(address, SECRET)


def test_an_address_that_does_not_fit_http_stops_the_start():
    with pytest.raises(ImproperlyConfigured, match="JINGWEI_SMS_URL"):
        HttpGateway("cmpp://901234@127.0.0.1", SECRET)

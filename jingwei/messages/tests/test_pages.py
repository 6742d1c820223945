"""Sending, the log and the outbox on the desk, and the door for the gateway (P-7.1 to P-7.4)."""

import html
import json
import re
import time

import pytest
from django.urls import reverse

from jingwei.base import parameters
from jingwei.base.models import ListSetting, LogEntry, ParameterValue
from jingwei.directory.models import Role
from jingwei.kit.signing import signature
from jingwei.messages import samples
from jingwei.messages.delivery import deliver
from jingwei.messages.gateways.outbox import OutboxGateway
from jingwei.messages.models import Outage, SmsBatch, SmsMessage, SmsReply, SmsTemplate
from jingwei.people.samples import person

SEND = "/sms-send/"


@pytest.fixture
def template(db):
    return SmsTemplate.objects.create(name="通知", text="{姓名}您好，{内容}", visible=["内容"])


def step(client, template, button="", **entered):
    """Fill in the sending page; `button` is the one pressed."""
    data = {"template": template.pk, "value_1": "请做核酸", "token": "1" * 32, **entered}
    return client.post(SEND, data | ({button: "1"} if button else {}))


def give_phone(*personas):
    for number, persona in enumerate(personas):
        operator = persona.operator
        operator.phone = f"1390000000{number}"
        operator.save()


@pytest.mark.req("P-7.1", "P-7.2")
def test_one_message_is_written_seen_and_sent(village, template):
    assert "通知" in village.client.get(SEND).content.decode()
    page = village.client.get(f"{SEND}?template={template.pk}").content.decode()
    assert 'name="value_1"' in page and 'name="value_0"' not in page
    page = step(village.client, template, numbers="13800000001 张三").content.decode()
    assert "张三您好，请做核酸" in page and "向 1 人发送短信" in page and SmsMessage.objects.count() == 0
    answer = step(village.client, template, "send", numbers="13800000001 张三")
    message = SmsMessage.objects.get()
    assert answer.url == reverse("desk:show", args=["sms-messages", message.pk])
    assert (message.receiver, message.content) == ("13800000001", "张三您好，请做核酸")
    shown = village.client.get(answer.url).content.decode()
    assert "138****0001" in shown and "13800000001" not in shown


@pytest.mark.req("P-7.2")
def test_a_second_click_sends_nothing_more(village, template):
    for _ in range(2):
        step(village.client, template, "send", numbers="13800000001 张三")
        step(village.client, template, "send", numbers="13800000001 张三\n13800000002 李四", token="2" * 32)
    assert SmsMessage.objects.count() == 3 and SmsBatch.objects.count() == 1


@pytest.mark.req("P-7.1")
@pytest.mark.parametrize(
    ("entered", "reason"),
    [
        ({}, "请填写手机号，或选择单位、角色、已保存的查询"),
        ({"numbers": "13800000001\n12345"}, "第 2 行“12345”的开头不是 11 位手机号"),
        ({"numbers": "13800000001 张三", "value_1": ""}, "这个字段是必填项"),
        ({"numbers": "13800000001"}, "参数“姓名”：请填写"),
        ({"numbers": "13800000001 张三", "value_1": "a\u202eb"}, "不能有换行或其它控制字符"),
        ({"numbers": "13800000001 张三", "not_before": "2020-01-01T08:00"}, "发送时间已过"),
        ({"numbers": "\n".join(["13800000001"] * 1001)}, "最多 1000 行"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_sent(village, template, entered, reason):
    page = step(village.client, template, "send", **entered).content.decode()
    assert reason in page and SmsMessage.objects.count() == 0
    if "numbers" in entered:
        assert entered["numbers"][:20] in page


@pytest.mark.req("SEC-12")
@pytest.mark.parametrize("bad", ["\0", "'", "9" * 5000, "\ud7ff\u202e"])
def test_odd_input_is_no_error_of_the_server(village, template, bad):
    for name in ("token", "numbers", "organisation", "role", "query", "not_before", "value_1"):
        answer = step(village.client, template, "send", **{"numbers": "13800000001 张三", name: bad})
        assert answer.status_code in ((400,) if bad == "\0" else (200, 302)), name
    answered = 400 if bad == "\0" else 200
    assert village.client.get(SEND, {"template": bad}).status_code == answered
    assert village.client.post(SEND, {"template": bad, "send": "1"}).status_code == answered


@pytest.mark.req("P-7.1")
def test_what_only_an_answer_fills_cannot_be_chosen(village, template):
    follow_up = SmsTemplate.objects.create(name="致谢", text="已记录：{回复}")
    page = village.client.get(f"{SEND}?template={follow_up.pk}").content.decode()
    assert "选择模板" in page and "致谢" not in page


@pytest.mark.req("P-7.2", "P-7.4")
def test_a_group_waits_for_a_second_person_on_the_page(village, district, template):
    ParameterValue.objects.create(name="sms.release_above", value="1")
    parameters.forget()
    give_phone(village, district)
    entered = {"organisation": district.operator.organisation_id}
    page = step(district.client, template, **entered).content.decode()
    assert "向 2 人发送短信" in page and "没有有效的手机号" in page and "另一人" in page
    step(district.client, template, "send", **entered)
    batch = SmsBatch.objects.get()
    address = reverse("desk:verb", args=["sms-batches", "release"])
    page = district.client.post(address, {"pk": batch.pk, "confirm": "1"}).content.decode()
    assert "须由发送人以外的另一人放行" in page
    second = Role.objects.create(
        name="放行", permissions=["sms-batches.view", "sms-batches.release"], reach=Role.EVERYTHING
    )
    village.operator.appointments.get().roles.set([second])
    village.client.post(address, {"pk": batch.pk, "confirm": "1"})
    batch.refresh_from_db()
    assert (batch.state, batch.releaser) == (SmsBatch.RELEASED, village.operator.name)


@pytest.mark.req("P-1.6", "P-7.2")
def test_a_group_reaches_only_operators_of_the_own_territory(village, town, district, othertown, template):
    give_phone(village, town, district, othertown)
    role = Role.objects.get(name="乡镇街道操作员")
    other = othertown.operator.organisation_id
    page = step(town.client, template, "send", organisation=other).content.decode()
    assert "选择一个有效的选项" in page and SmsMessage.objects.count() == 0
    step(town.client, template, "send", role=role.pk)
    assert [message.receiver for message in SmsMessage.objects.all()] == ["13900000001"]


@pytest.mark.req("P-7.2", "CL-4.2")
def test_a_saved_query_is_sent_to_everybody_it_finds(village, template):
    for name, phone in [("甲", "13800000001"), ("乙", "13800000002"), ("丙", "")]:
        person(name=name, phone=phone)
    setting = ListSetting.objects.create(
        operator=village.operator.pk, resource="people", name="全体", value={"query": "doc_type=111"}
    )
    page = village.client.get(f"{SEND}?template={template.pk}").content.decode()
    assert "人员信息：全体" in page
    page = step(village.client, template, query=setting.pk).content.decode()
    assert "向 2 人发送短信" in page and "另有 1 人没有有效的手机号" in page
    step(village.client, template, "send", query=setting.pk)
    texts = {message.content.clear() for message in SmsMessage.objects.all()}
    assert texts == {"甲您好，请做核酸", "乙您好，请做核酸"}


@pytest.mark.req("P-7.2")
def test_a_query_that_finds_too_many_is_refused(village, template, monkeypatch):
    monkeypatch.setattr("jingwei.messages.forms.MOST_FOUND", 1)
    person(phone="13800000001")
    person(phone="13800000002")
    setting = ListSetting.objects.create(
        operator=village.operator.pk, resource="people", name="全体", value={"query": ""}
    )
    page = step(village.client, template, "send", query=setting.pk).content.decode()
    assert "一次最多发给 1 人" in page and SmsMessage.objects.count() == 0


@pytest.mark.req("P-1.4", "P-7.2")
def test_who_has_left_is_not_in_the_group(district, village, town, template):
    give_phone(village, town)
    town.operator.appointments.update(ends_on="2020-01-01")
    step(district.client, template, "send", organisation=district.operator.organisation_id)
    assert [message.receiver for message in SmsMessage.objects.all()] == ["13900000000"]
    type(village.operator).objects.filter(pk=village.operator.pk).update(enabled=False)
    again = step(
        district.client, template, "send", organisation=district.operator.organisation_id, token="2" * 32
    )
    assert "没有可发送的对象" in again.content.decode()


@pytest.mark.req("P-1.6")
def test_the_query_of_another_operator_is_not_offered(village, town, template):
    setting = ListSetting.objects.create(
        operator=town.operator.pk, resource="people", name="x", value={"query": ""}
    )
    page = step(village.client, template, "send", query=setting.pk).content.decode()
    assert "选择一个有效的选项" in page and SmsMessage.objects.count() == 0


@pytest.mark.req("P-7.4")
def test_whoever_sends_sees_that_the_gateway_is_down(village, template):
    Outage.objects.create(gateway="outbox", since="2026-03-01T09:00:00+08:00", error="连接不上")
    page = village.client.get(f"{SEND}?template={template.pk}").content.decode()
    assert "短信网关自 03-01 09:00 起不通（连接不上）" in page


@pytest.mark.req("P-1.10", "SEC-7")
def test_without_the_permission_nothing_is_sent_and_elsewhere_nothing_exists(nobody, othertown, template):
    assert nobody.client.get(SEND).status_code == 403
    assert step(nobody.client, template, "send", numbers="13800000001 张三").status_code == 403
    message = samples.message()
    assert othertown.client.get(reverse("desk:show", args=["sms-messages", message.pk])).status_code == 404
    deliver(OutboxGateway())
    event = othertown.client.post(f"/sms-outbox/{message.pk}/event/", {"event": "delivered"})
    assert event.status_code == 404


@pytest.mark.req("P-7.3", "P-4.3")
def test_the_log_shows_content_receiver_time_and_outcome(village):
    samples.message()
    failed = samples.message()
    deliver(OutboxGateway())
    SmsMessage.objects.filter(pk=failed.pk).update(state=SmsMessage.FAILED, error="空号（UNDELIV）")
    page = village.client.get("/sms-messages/").content.decode()
    for words in ("林样例您好，3月1日请到上埔社区采样。", "160****0001", "已发送", "失败", "空号（UNDELIV）"):
        assert words in page
    assert "16000000001" not in page
    found = village.client.get("/sms-messages/?q=16000000001").content.decode()
    assert "160****0001" in found
    tab = village.client.get("/sms-messages/?tab=2").content.decode()
    assert "空号（UNDELIV）" in tab and "已发送</td>" not in tab


@pytest.mark.req("P-7.2")
def test_a_failed_message_is_resent_from_the_log(village):
    message = samples.message()
    SmsMessage.objects.update(state=SmsMessage.FAILED)
    address = reverse("desk:verb", args=["sms-messages", "resend"])
    village.client.post(address, {"pk": message.pk, "confirm": "1"})
    assert SmsMessage.objects.get(resends=message).state == SmsMessage.WAITING


@pytest.mark.req("P-7.1")
def test_a_template_is_entered_on_its_page(district):
    form = {"name": "新模板", "text": "{场所}，请注意（今晚）", "visible": "场所", "enabled": "是"}
    answer = district.client.post("/sms-templates/new/", form)
    made = SmsTemplate.objects.get(name="新模板")
    assert answer.status_code == 302 and made.text == form["text"] and made.visible == ["场所"]
    answer = district.client.post("/sms-templates/new/", form | {"name": "另一", "text": "{场所"})
    assert "花括号要成对" in answer.content.decode()
    page = district.client.get(f"/sms-templates/{made.pk}/").content.decode()
    assert "{场所}，请注意（今晚）" in page


# --- outbox


@pytest.mark.req("P-7.4")
def test_the_outbox_shows_what_would_have_been_sent(village):
    samples.message()
    assert "还没有短信" in village.client.get("/sms-outbox/").content.decode()
    deliver(OutboxGateway())
    page = village.client.get("/sms-outbox/").content.decode()
    assert "林样例您好，3月1日请到上埔社区采样。" in page
    assert "160****0001" in page and "16000000001" not in page


@pytest.mark.req("P-7.1", "P-7.4")
def test_the_outbox_answers_like_a_gateway(village):
    message = samples.message()
    template = message.template
    template.next = SmsTemplate.objects.create(name="致谢", text="已记录：{回复}", visible=["回复"])
    template.save()
    SmsMessage.objects.update(values='{"姓名": "林样例"}')
    deliver(OutboxGateway())
    address = f"/sms-outbox/{message.pk}/event/"
    village.client.post(address, {"event": "delivered"})
    message.refresh_from_db()
    assert message.state == SmsMessage.DELIVERED
    village.client.post(address, {"event": "reply", "text": "收到"})
    assert SmsReply.objects.get().text == "收到"
    assert SmsMessage.objects.get(follows=message).shown == "已记录：收到"
    village.client.post(address, {"event": "explode"})
    assert LogEntry.objects.filter(act="模拟短信回执").count() == 2


# --- the gateway's own call


def call(client, body, secret="shared", **changed):
    now = str(int(time.time()))
    signed = {"method": "POST", "target": "/gateway/sms/", "time": now, "nonce": "n", "body": body} | changed
    headers = {
        "X-Jingwei-Time": signed["time"],
        "X-Jingwei-Nonce": signed["nonce"],
        "X-Jingwei-Signature": signature(secret.encode(), **signed),
    }
    return client.post("/gateway/sms/", body, content_type="application/json", headers=headers)


@pytest.fixture
def http_gateway(settings):
    settings.JINGWEI_SMS, settings.JINGWEI_SMS_SECRET = "http", "shared"


@pytest.mark.req("P-7.2")
def test_the_http_gateway_reports_by_itself(client, db, http_gateway):
    message = samples.message()
    event = {"event": "e1", "kind": "receipt", "id": message.uid.hex, "delivered": True, "code": "DELIVRD"}
    odd = {"event": "e2", "kind": "?"}
    for _ in range(2):
        answer = call(client, json.dumps({"events": [event, odd]}).encode())
        assert answer.json() == {"taken": ["e1", "e2"]}
    message.refresh_from_db()
    assert message.state == SmsMessage.DELIVERED and message.receipts.count() == 1


@pytest.mark.req("P-7.2", "SEC-12")
def test_nobody_else_can_report(client, db, http_gateway):
    body = json.dumps({"events": []}).encode()
    assert client.post("/gateway/sms/", body, content_type="application/json").status_code == 403
    assert call(client, body, secret="other").status_code == 403
    assert call(client, body, time=str(int(time.time()) - 3600)).status_code == 403
    assert call(client, body, target="/gateway/").status_code == 403
    assert call(client, b"nonsense").status_code == call(client, b"[" * 100_000).status_code == 400
    assert call(client, b"[]").json() == {"taken": []}
    assert client.get("/gateway/sms/").status_code == 405


@pytest.mark.req("P-7.2")
def test_without_the_http_gateway_the_door_is_shut(client, db):
    assert call(client, b"{}", secret="").status_code == 403


@pytest.mark.req("SEC-11")
def test_the_pages_have_no_script_or_style_of_their_own(village, template):
    samples.reply()
    for address in (SEND, f"{SEND}?template={template.pk}", "/sms-outbox/"):
        page = village.client.get(address).content.decode()
        assert not re.search(r"<script(?![^>]*src)|<style| style=| on[a-z]+=", page)


@pytest.mark.req("P-7.2", "CL-4.2")
def test_whom_a_list_shows_is_sent_to_from_the_list(village, nobody, template):
    person(name="甲", phone="16000000021"), person(name="乙", phone="16000000022")
    person(name="丙", region="990101002001", phone="16000000023")
    page = village.client.get("/people/", {"q": "甲"}).content.decode()
    [link] = re.findall(r'href="(/sms-send/\?of=people[^"]*)"', page)
    page = village.client.get(html.unescape(link)).content.decode()
    [link] = re.findall(r'href="(\?[^"]*template=[^"]*)"', page)
    page = village.client.get(SEND + html.unescape(link)).content.decode()
    assert "人员信息：当前列表（1 人）" in page
    [listed] = re.findall(r'name="listed" value="([^"]*)"', page)
    page = step(village.client, template, listed=html.unescape(listed)).content.decode()
    assert "甲您好" in page and "向 1 人发送短信" in page
    step(village.client, template, "send", listed="people?")
    assert {message.receiver for message in SmsMessage.objects.all()} == {"16000000021", "16000000022"}


@pytest.mark.req("P-1.6", "SEC-7")
def test_nobody_sends_to_a_list_that_is_not_shown_to_them(venueops, template):
    person(phone="16000000021")
    for listed in ("people?", "nothing?", "roles?", "?"):
        page = step(venueops.client, template, listed=listed)
        assert page.status_code == 403 or "请填写手机号" in page.content.decode(), listed
    assert not SmsMessage.objects.exists()

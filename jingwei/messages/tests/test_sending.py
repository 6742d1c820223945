"""Templates, single and group sendings, release, resend, cancel (P-7.1, P-7.2, P-7.4)."""

import threading

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction

from jingwei.base import parameters
from jingwei.base.access import platform_actor
from jingwei.base.models import LogEntry, ParameterValue
from jingwei.messages import actions
from jingwei.messages.models import SmsBatch, SmsMessage, SmsTemplate
from jingwei.messages.queries import Receiver

TIMER = platform_actor("定时任务")
PHONE = "13800000001"


@pytest.fixture
def template(db):
    return SmsTemplate.objects.create(
        name="预警提醒", text="{场所}有{条数}条预警待接收，经办人{经办人}。", visible=["场所", "条数"]
    )


VALUES = {"场所": "东街超市", "条数": "3", "经办人": "张三"}


def limit(people):
    ParameterValue.objects.update_or_create(name="sms.release_above", defaults={"value": str(people)})
    parameters.forget()


# --- templates


@pytest.mark.req("P-7.1")
def test_a_preview_is_the_text_with_its_parameters(template):
    filled = actions.preview(template, VALUES)
    assert filled.text == "东街超市有3条预警待接收，经办人张三。"
    assert filled.shown == "东街超市有3条预警待接收，经办人****。"
    assert filled.parts == 1


@pytest.mark.req("P-7.1")
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "参数“场所”：请填写"),
        ({**VALUES, "条数": "  "}, "参数“条数”：请填写"),
        ({**VALUES, "条数": "3\n4"}, "参数“条数”：不能有换行"),
        ({**VALUES, "条数": "9" * 201}, "参数“条数”：最多 200 个字"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(template, values, reason):
    with pytest.raises(ValidationError, match=reason):
        actions.preview(template, values)


@pytest.mark.req("P-7.1")
def test_a_value_is_text_and_never_a_parameter_again(template):
    assert (
        actions.preview(template, {**VALUES, "场所": "{经办人}"}).shown
        == "{经办人}有3条预警待接收，经办人****。"
    )


@pytest.mark.req("P-7.1")
def test_a_message_of_too_many_parts_is_refused():
    with pytest.raises(ValidationError, match="短信过长：要拆成 11 条，最多 10 条"):
        actions.preview(SmsTemplate(text="长" * 500 + "{a}"), {"a": "长" * 180})


@pytest.mark.req("P-7.1")
@pytest.mark.parametrize("text", ["{场所", "场所}", "{}", "{场 所}", "{{场所}}", "{" + "长" * 21 + "}"])
def test_braces_that_make_no_parameter_are_refused(db, text):
    with pytest.raises(ValidationError, match="花括号"):
        SmsTemplate(name="a", text=text).full_clean()


@pytest.mark.req("SEC-12")
@pytest.mark.parametrize("text", ["a\x01b", "a\u202eb"])
def test_controls_in_a_template_are_refused(db, text):
    with pytest.raises(ValidationError, match="控制字符"):
        SmsTemplate(name="a", text=text).full_clean()


@pytest.mark.req("P-7.1")
def test_what_the_log_may_show_are_parameters_of_the_text(template):
    template.visible = ["时间"]
    with pytest.raises(ValidationError, match="内容中没有参数：时间"):
        template.full_clean()


@pytest.mark.req("P-7.1")
def test_the_next_template_has_nothing_that_cannot_be_filled(template):
    following = SmsTemplate.objects.create(name="回访", text="{场所}已收到您的回复：{回复}")
    template.next = following
    template.full_clean()
    template.save()
    following.text = "{医院}"
    with pytest.raises(ValidationError, match="参数“医院”不在“预警提醒”中"):
        following.full_clean()
    template.text = "没有参数"
    template.visible = []
    with pytest.raises(ValidationError, match="参数“场所”不在“预警提醒”中"):
        template.next.refresh_from_db()
        template.full_clean()


@pytest.mark.req("P-7.1")
def test_templates_do_not_follow_each_other_in_a_circle(db):
    one = SmsTemplate.objects.create(name="一", text="一")
    two = SmsTemplate.objects.create(name="二", text="二", next=one)
    one.next = two
    with pytest.raises(ValidationError, match="绕回"):
        one.full_clean()
    two.next = two
    with pytest.raises(ValidationError, match="绕回"):
        two.full_clean()


@pytest.mark.req("P-7.1")
def test_a_system_template_keeps_the_administrators_words(db):
    made = actions.system_template("alerts", name="扫码预警", text="您有{条数}条预警", visible=["条数"])
    made.text = "请查看{条数}条预警。"
    made.full_clean()
    made.save()
    assert actions.system_template("alerts", name="x", text="y").text == "请查看{条数}条预警。"
    made.text = "请查看{场所}的预警。"
    with pytest.raises(ValidationError, match="参数“场所”无从填写；该系统模板的参数：条数"):
        made.full_clean()


@pytest.mark.req("P-7.1")
def test_a_system_template_finds_its_name_taken(template):
    made = actions.system_template("alerts", name="预警提醒", text="您有预警")
    assert made.name == "预警提醒（系统）"
    assert actions.system_template("alerts", name="预警提醒", text="您有预警") == made


# --- one


@pytest.mark.req("P-7.2", "P-7.3")
def test_a_message_waits_to_be_handed_over(village, template):
    message = actions.send(village.actor, template, to="+86 138-0000-0001", values=VALUES, key="alert/1")
    assert (message.state, message.receiver, message.content) == (
        SmsMessage.WAITING,
        PHONE,
        "东街超市有3条预警待接收，经办人张三。",
    )
    assert message.organisation == village.operator.organisation and message.sender == village.operator.name


@pytest.mark.req("P-3.1")
def test_a_sending_is_in_the_log_without_the_number_or_hidden_values(village, template):
    actions.send(village.actor, template, to=PHONE, values=VALUES)
    line = LogEntry.objects.latest("id")
    assert (line.act, line.resource, line.operator) == ("发送短信", "sms-messages", village.operator.pk)
    assert "138****0001" in line.label
    assert not any(word in line.label + str(line.detail) for word in ("张三", PHONE))


@pytest.mark.req("P-4.1", "SEC-13")
def test_number_and_text_are_not_in_the_database_in_clear(village, template):
    message = actions.send(village.actor, template, to=PHONE, values=VALUES)
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(m)::text FROM sms_smsmessage m WHERE id = %s", [message.pk])
        row = cursor.fetchone()[0]
    hidden = [PHONE, "张三"]
    assert not any(word in row or word.encode().hex() in row for word in hidden)


@pytest.mark.req("P-7.2")
def test_the_same_key_is_the_same_message(village, district, template):
    first = actions.send(village.actor, template, to=PHONE, values=VALUES, key="alert/1")
    again = actions.send(district.actor, template, to="13900000000", values=VALUES, key="alert/1")
    assert first == again and SmsMessage.objects.count() == 1
    assert LogEntry.objects.filter(act="发送短信").count() == 1


@pytest.mark.req("P-7.2")
@pytest.mark.django_db(transaction=True)
def test_two_at_the_same_moment_with_one_key_send_one(template):
    made = []

    def send():
        made.append(actions.send(TIMER, template, to=PHONE, values=VALUES, key="alert/1").pk)
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4 and len(set(made)) == 1 == SmsMessage.objects.count()


@pytest.mark.req("P-7.2")
@pytest.mark.parametrize("number", ["", "0591-87654321", "12345678901", "1380000000", "张三", None])
def test_what_is_no_mobile_number_is_refused(village, template, number):
    with pytest.raises(ValidationError, match="请填写 11 位手机号"):
        actions.send(village.actor, template, to=number, values=VALUES)


@pytest.mark.req("P-7.1")
def test_a_disabled_template_sends_nothing(village, template):
    template.enabled = False
    with pytest.raises(ValidationError, match="“预警提醒”已停用"):
        actions.send(village.actor, template, to=PHONE, values=VALUES)
    with pytest.raises(ValidationError, match="“预警提醒”已停用"):
        actions.send_group(village.actor, template, receivers=[Receiver(PHONE)], label="", values=VALUES)


@pytest.mark.req("P-7.2")
@pytest.mark.django_db(transaction=True)
def test_a_sending_wakes_a_worker_once_it_is_committed(template):
    def queued():
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'sms.deliver'")
            return cursor.fetchone()[0]

    with transaction.atomic():
        actions.send(TIMER, template, to=PHONE, values=VALUES)
        actions.send(TIMER, template, to=PHONE, values=VALUES)
        assert queued() == 0
    assert queued() == 1


# --- many


def people(count):
    return [Receiver(f"138{number:08d}", f"居民{number}") for number in range(count)]


@pytest.mark.req("P-7.2")
def test_a_group_gets_each_number_once(village, db):
    template = SmsTemplate.objects.create(name="通知", text="{姓名}您好，{内容}", visible=["内容"])
    others = [Receiver("138-0000-0001", "同号"), Receiver("", "无号"), Receiver("0591-87654321", "座机")]
    batch = actions.send_group(
        village.actor, template, receivers=people(3) + others, label="本村", values={"内容": "请做核酸"}
    )
    assert (batch.count, batch.left_out, batch.state) == (3, 2, SmsBatch.RELEASED)
    assert batch.shown == "{姓名}您好，请做核酸"
    messages = list(batch.messages.order_by("pk"))
    assert [m.content.clear() for m in messages] == [f"居民{n}您好，请做核酸" for n in range(3)]
    assert [m.receiver.clear() for m in messages] == [f"138{n:08d}" for n in range(3)]
    assert [m.shown for m in messages] == [f"居民{n}您好，请做核酸" for n in range(3)]
    assert {m.state for m in messages} == {SmsMessage.WAITING}


@pytest.mark.req("P-7.2")
def test_a_group_of_nobody_is_refused(village, template):
    with pytest.raises(ValidationError, match="没有可发送的对象"):
        actions.send_group(village.actor, template, receivers=[Receiver("")], label="", values=VALUES)


@pytest.mark.req("P-7.2")
def test_a_group_with_the_same_key_is_sent_once(village, template):
    for _ in range(2):
        actions.send_group(village.actor, template, receivers=people(3), label="x", values=VALUES, key="k")
    assert SmsBatch.objects.count() == 1 and SmsMessage.objects.count() == 3


@pytest.mark.req("P-7.4")
def test_above_the_limit_a_second_person_releases(village, district, template):
    limit(2)
    few = actions.send_group(village.actor, template, receivers=people(2), label="两人", values=VALUES)
    many = actions.send_group(village.actor, template, receivers=people(3), label="三人", values=VALUES)
    assert (few.state, many.state) == (SmsBatch.RELEASED, SmsBatch.HELD)
    assert set(many.messages.values_list("state", flat=True)) == {SmsMessage.HELD}
    with pytest.raises(ValidationError, match="另一人放行"):
        actions.release(village.actor, many)
    with pytest.raises(ValidationError, match="另一人放行"):
        actions.release(TIMER, many)
    actions.release(district.actor, many)
    many.refresh_from_db()
    assert (many.state, many.releaser) == (SmsBatch.RELEASED, district.operator.name)
    assert set(many.messages.values_list("state", flat=True)) == {SmsMessage.WAITING}
    with pytest.raises(ValidationError, match="已放行，不能再放行"):
        actions.release(district.actor, many)
    assert LogEntry.objects.filter(act="放行短信群发", operator=district.operator.pk).count() == 1


@pytest.mark.req("P-7.4")
def test_the_database_knows_that_the_second_person_is_another(village, template):
    limit(0)
    batch = actions.send_group(village.actor, template, receivers=people(1), label="", values=VALUES)
    with pytest.raises(IntegrityError, match="sms_released_by_a_second_person"):
        SmsBatch.objects.filter(pk=batch.pk).update(released_by=batch.created_by)


@pytest.mark.req("P-7.2")
def test_a_cancelled_group_stays_here(village, district, template):
    limit(2)
    batch = actions.send_group(village.actor, template, receivers=people(3), label="", values=VALUES)
    actions.cancel_batch(village.actor, batch)
    assert set(batch.messages.values_list("state", flat=True)) == {SmsMessage.CANCELLED}
    with pytest.raises(ValidationError, match="已取消，不能再放行"):
        actions.release(district.actor, batch)
    with pytest.raises(ValidationError, match="没有尚未发出的短信"):
        actions.cancel_batch(village.actor, batch)


@pytest.mark.req("P-7.2")
def test_twenty_thousand_receivers_take_few_statements(village, template, django_assert_max_num_queries):
    with django_assert_max_num_queries(20):
        batch = actions.send_group(village.actor, template, receivers=people(20_000), label="", values=VALUES)
    assert batch.messages.count() == 20_000


# --- afterwards


@pytest.mark.req("P-7.2")
def test_what_waits_is_cancelled_and_what_has_gone_is_not(village, template):
    message = actions.send(village.actor, template, to=PHONE, values=VALUES)
    actions.cancel(village.actor, message)
    with pytest.raises(ValidationError, match="已取消，不能取消"):
        actions.cancel(village.actor, message)


@pytest.mark.req("P-7.2")
def test_a_failed_message_is_sent_again_as_another(village, template):
    message = actions.send(village.actor, template, to=PHONE, values=VALUES, key="alert/1")
    with pytest.raises(ValidationError, match="只有失败的短信可以重发"):
        actions.resend(village.actor, message)
    SmsMessage.objects.update(state=SmsMessage.FAILED, error="空号")
    again = actions.resend(village.actor, message)
    assert (again.state, again.receiver, again.content) == (SmsMessage.WAITING, PHONE, message.content)
    assert again.uid != message.uid and again.resends == message
    message.refresh_from_db()
    assert (message.state, message.error) == (SmsMessage.FAILED, "空号")
    with pytest.raises(ValidationError, match="已重发过"):
        actions.resend(village.actor, message)


@pytest.mark.req("P-7.2")
@pytest.mark.parametrize(("arrived", "state"), [("yes", SmsMessage.DELIVERED), ("no", SmsMessage.FAILED)])
def test_a_message_in_doubt_is_settled_by_whoever_found_out(village, template, arrived, state):
    message = actions.send(village.actor, template, to=PHONE, values=VALUES)
    with pytest.raises(ValidationError, match="只有待核实的短信需要核实"):
        actions.settle(village.actor, message, arrived=arrived)
    SmsMessage.objects.update(state=SmsMessage.UNSURE)
    with pytest.raises(ValidationError, match="只有失败的短信可以重发"):
        actions.resend(village.actor, message)
    actions.settle(village.actor, message, arrived=arrived)
    message.refresh_from_db()
    assert message.state == state
    assert LogEntry.objects.filter(act="核实短信").count() == 1

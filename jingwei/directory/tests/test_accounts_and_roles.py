"""Who may make accounts, give roles and change what others may do (P-1.4, P-1.5, P-1.8)."""

from dataclasses import replace
from importlib import import_module

import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from jingwei import menu
from jingwei.base import wall
from jingwei.base.access import Actor, DataScope
from jingwei.base.models import LogEntry
from jingwei.base.wall import acting
from jingwei.directory import actions, rules
from jingwei.directory.actors import actor_for
from jingwei.directory.hashers import PBKDF2SM3PasswordHasher
from jingwei.directory.models import Appointment, Operator, Organisation, Role
from tests.personas import Persona

pytestmark = pytest.mark.django_db


def resource(name):
    return menu.resource(name)


@pytest.fixture
def newcomer(district, village):
    """An account of the village without any appointment, entered by the manager of the district."""
    return resource("operators").save(
        district.actor,
        Operator(),
        values={"login": "Newcomer", "name": "新来的", "organisation": village.operator.organisation},
    )


def role_called(name):
    return Role.objects.get(name=name)


def appoint(persona, operator, *roles, organisation=None):
    values = {
        "operator": operator,
        "organisation": organisation or operator.organisation,
        "roles": [role_called(name) for name in roles],
    }
    return resource("appointments").save(persona.actor, Appointment(), values=values)


@pytest.mark.req("SEC-5", "P-1.4", "CL-5.1")
def test_a_new_account_can_do_nothing_until_it_is_appointed(secadmin, newcomer):
    assert not newcomer.has_usable_password()
    assert newcomer.must_change_password
    assert not actor_for(newcomer).grants
    appoint(secadmin, newcomer, "村社区操作员")
    fresh = Operator.objects.get(pk=newcomer.pk)
    assert actor_for(fresh).data_scope("people.view").regions == {newcomer.organisation.region_id}


@pytest.mark.req("SEC-1")
@pytest.mark.parametrize("login", ["newcomer", "NEWCOMER", "ｎｅｗｃｏｍｅｒ", " Newcomer"])
def test_a_login_name_is_unique_whatever_its_case_and_width(secadmin, newcomer, login):
    values = {"login": login, "name": "另一个", "organisation": newcomer.organisation}
    with pytest.raises(ValidationError, match="已被使用"):
        resource("operators").save(secadmin.actor, Operator(), values=values)


@pytest.mark.req("SEC-1", "SEC-12")
@pytest.mark.parametrize("login", ["new comer", "newcomer\u200b", "new\u202ecomer", "new\u00a0comer"])
def test_a_login_name_holds_nothing_that_is_not_seen(secadmin, newcomer, login):
    values = {"login": login, "name": "另一个", "organisation": newcomer.organisation}
    with pytest.raises(ValidationError, match="看不见的字符"):
        resource("operators").save(secadmin.actor, Operator(), values=values)


@pytest.mark.req("SEC-6")
def test_the_database_counts_appointments_that_who_grants_cannot_see(sysadmin, secadmin, othertown):
    """At the level of SQL, as the application of an actor whose reach ends before the other appointment."""
    operator, kinds = sysadmin.operator, [role_called(kind).pk for kind in (rules.SECURITY, rules.AUDIT)]
    elsewhere = Appointment.objects.create(operator=operator, organisation=othertown.operator.organisation)
    roles = f"INSERT INTO directory_appointment_roles (appointment_id, role_id) VALUES ({elsewhere.pk}, %s)"
    reach = DataScope(organisations=frozenset([othertown.operator.organisation.path]))
    with acting(replace(secadmin.actor, grants={"appointments.add": reach}, business=reach)):
        assert [a.pk for a in Appointment.objects.filter(operator=operator)] == [elsewhere.pk]
        for kind in kinds:
            with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(roles, [kind])
        with connection.cursor() as cursor:
            cursor.execute(roles, [role_called("领导查阅").pk])


@pytest.mark.req("SEC-1")
def test_a_login_name_is_never_given_again(secadmin, newcomer):
    organisation = newcomer.organisation
    resource("operators").delete(secadmin.actor, newcomer)
    values = {"login": "newcomer", "name": "另一个", "organisation": organisation}
    with pytest.raises(ValidationError, match="曾被使用"):
        resource("operators").save(secadmin.actor, Operator(), values=values)


@pytest.mark.req("SEC-1")
def test_a_login_name_does_not_change(secadmin, newcomer):
    with pytest.raises(ValidationError, match="不能修改"):
        resource("operators").save(secadmin.actor, newcomer, values={"login": "other"})


@pytest.mark.req("P-1.4")
def test_a_reset_gives_a_password_that_must_be_changed(secadmin, newcomer):
    told = actions.reset_password(secadmin.actor, newcomer)
    newcomer.refresh_from_db()
    assert newcomer.must_change_password
    assert newcomer.check_password(told.split("新口令是 ")[1].split("　")[0])


@pytest.mark.req("P-1.5", "P-1.8")
def test_nobody_grants_to_themselves(secadmin):
    own = secadmin.operator.appointments.get()
    for values in (
        {"roles": [role_called("区级管理员")]},
        {"ends_on": None, "organisation": own.organisation},
    ):
        values.setdefault("roles", [*own.roles.all(), role_called("区级操作员")])
        with pytest.raises(ValidationError, match="自己"):
            resource("appointments").save(secadmin.actor, own, values=values)
    with pytest.raises(ValidationError, match="自己"):
        appoint(secadmin, secadmin.operator, "区级管理员")
    with pytest.raises(ValidationError, match="自己"):
        resource("roles").save(
            secadmin.actor, role_called("安全管理员"), values={"permissions": ["roles.view"]}
        )
    with pytest.raises(ValidationError, match="自己"):
        resource("appointments").delete(secadmin.actor, own)


@pytest.mark.req("P-1.8", "SEC-6")
@pytest.mark.parametrize("second", ["审计管理员", "安全管理员"])
def test_no_account_becomes_two_administrators(secadmin, sysadmin, second):
    with pytest.raises(ValidationError, match="三员分立"):
        appoint(secadmin, sysadmin.operator, second)
    assert sysadmin.operator.appointments.count() == 1


@pytest.mark.req("SEC-6")
def test_the_database_itself_refuses_two_administrators(sysadmin, newcomer):
    own = sysadmin.operator.appointments.get()
    with pytest.raises(IntegrityError), transaction.atomic():
        own.roles.add(role_called("审计管理员"))
    other = Appointment.objects.create(operator=newcomer, organisation=newcomer.organisation)
    other.roles.set([role_called("审计管理员")])
    with pytest.raises(IntegrityError), transaction.atomic():
        Appointment.objects.filter(pk=other.pk).update(operator=sysadmin.operator)
    plain = Role.objects.create(name="普通")
    own.roles.add(plain)
    with pytest.raises(IntegrityError), transaction.atomic():
        Role.objects.filter(pk=plain.pk).update(administrator=rules.AUDIT)


@pytest.mark.req("P-1.8")
@pytest.mark.parametrize(
    ("permissions", "said"),
    [
        (["parameters.change", "roles.change"], "系统管理员与安全管理员"),
        (["logs.view", "appointments.add"], "安全管理员与审计管理员"),
        (["logs.view", "people.view"], "业务数据"),
    ],
)
def test_a_role_is_no_two_administrators_and_no_administrator_sees_business(secadmin, permissions, said):
    with pytest.raises(ValidationError, match=said):
        resource("roles").save(secadmin.actor, Role(), values={"name": "混合", "permissions": permissions})


@pytest.mark.req("P-1.8")
def test_a_role_that_becomes_an_administrators_is_refused_for_who_is_another(secadmin, sysadmin):
    own = sysadmin.operator.appointments.get()
    extra = resource("roles").save(secadmin.actor, Role(), values={"name": "附加", "permissions": []})
    own.roles.add(extra)
    with pytest.raises(ValidationError, match="三员分立"):
        resource("roles").save(secadmin.actor, extra, values={"permissions": ["logs.view"]})


def manager(region, **scopes):
    """An actor of the district who may appoint, without being the security administrator."""
    held = {"appointments.add", "appointments.change", "appointments.delete", "roles.change", "roles.add"}
    office = Organisation.objects.filter(region=region).order_by("pk").first()
    grants = dict.fromkeys(held, DataScope(regions=frozenset([region]))) | scopes
    return Actor(name="经办", operator_id=0, organisation_id=office.pk, region=region, grants=grants)


@pytest.mark.req("P-1.5")
def test_nobody_grants_more_than_they_hold(newcomer, town):
    values = {"operator": newcomer, "organisation": newcomer.organisation}
    inside = DataScope(regions=frozenset([town.region]))
    viewer = Role.objects.create(name="只看人员", permissions=["people.view"])
    actor = manager(town.region, **{"people.view": inside})
    granted = resource("appointments").save(actor, Appointment(), values=values | {"roles": [viewer]})
    assert granted.roles.get() == viewer
    exporter = Role.objects.create(name="可导出", permissions=["people.view", "people.export"])
    with pytest.raises(ValidationError, match="people.export"):
        resource("appointments").save(actor, Appointment(), values=values | {"roles": [exporter]})
    wide = Role.objects.create(name="全部人员", permissions=["people.view"], reach=Role.EVERYTHING)
    with pytest.raises(ValidationError, match="数据范围"):
        resource("appointments").save(actor, Appointment(), values=values | {"roles": [wide]})


@pytest.mark.req("P-1.5")
def test_a_role_is_not_widened_by_who_holds_less(newcomer, town):
    role = Role.objects.create(name="只看人员", permissions=["people.view"])
    actor = manager(town.region, **{"people.view": DataScope(regions=frozenset([town.region]))})
    for values in (
        {"permissions": ["people.view", "people.delete"]},
        {"reach": Role.EVERYTHING},
        {"permissions": ["parameters.change"]},
    ):
        with pytest.raises(ValidationError, match="不能授予"):
            resource("roles").save(actor, Role.objects.get(pk=role.pk), values=values)
    role.refresh_from_db()
    assert (role.permissions, role.reach) == (["people.view"], Role.REGION)


@pytest.mark.req("P-1.5", "P-1.8", "P-1.10")
def test_who_holds_what_counts_wherever_it_is_held(town, village, othertown, sysadmin):
    """Behind the wall an actor sees the appointments of the own area only."""
    role = Role.objects.create(name="看人员", permissions=["people.view"])
    othertown.operator.appointments.get().roles.add(role)
    here = DataScope(regions=frozenset([town.region]))
    rights = ["people.view", "people.delete", "roles.delete", "operators.change"]
    actor, administrator = manager(town.region, **dict.fromkeys(rights, here)), sysadmin.operator
    Operator.objects.filter(pk=administrator.pk).update(organisation=town.operator.organisation)
    with wall.acting(actor):
        with pytest.raises(ValidationError, match="不能授予"):
            resource("roles").save(actor, role, values={"permissions": ["people.view", "people.delete"]})
        with pytest.raises(ValidationError, match="1 个账号在使用"):
            resource("roles").delete(actor, role)
        with pytest.raises(ValidationError, match="只有安全管理员"):
            resource("operators").save(actor, administrator, values={"name": "改名"})


@pytest.mark.req("P-1.5", "CL-5.1")
def test_a_role_is_copied(secadmin):
    original = role_called("村社区操作员")
    copied = actions.copy_role(secadmin.actor, original, name="网格员")
    assert (copied.permissions, copied.reach) == (original.permissions, original.reach)
    assert not Appointment.objects.filter(roles=copied).exists()


@pytest.mark.req("P-1.5")
def test_a_role_in_use_is_not_deleted(secadmin):
    with pytest.raises(ValidationError, match="1 个账号在使用"):
        resource("roles").delete(secadmin.actor, role_called("村社区操作员"))
    resource("roles").delete(secadmin.actor, role_called("领导查阅"))


@pytest.mark.req("P-1.5")
def test_a_disabled_role_grants_nothing(village):
    Role.objects.filter(name="村社区操作员").update(enabled=False)
    assert not village.actor.grants


@pytest.mark.req("P-1.8", "P-1.4")
def test_the_manager_of_an_area_does_not_touch_administrators(district, sysadmin):
    with pytest.raises(ValidationError, match="只有安全管理员"):
        resource("operators").save(district.actor, sysadmin.operator, values={"ends_on": "2020-01-01"})


@pytest.mark.req("CL-1.2", "P-1.4")
def test_the_district_adds_accounts_in_its_area_only(district, town, othertown):
    values = {"login": "clerk7", "name": "七号", "organisation": othertown.operator.organisation}
    assert resource("operators").save(district.actor, Operator(), values=values).pk
    outside = Organisation.objects.create(name="邻区", region_id="9901")
    with pytest.raises(ValidationError, match="管辖范围"):
        resource("operators").save(
            district.actor, Operator(), values=values | {"login": "clerk8", "organisation": outside}
        )


@pytest.mark.req("P-1.4")
def test_an_appointment_stays_with_its_operator_and_its_post_in_its_organisation(
    secadmin, newcomer, district
):
    appointment = appoint(secadmin, newcomer)
    with pytest.raises(ValidationError, match="不能转给他人"):
        resource("appointments").save(secadmin.actor, appointment, values={"operator": district.operator})
    post = district.operator.organisation.department_set.first().post_set.first()
    appointment.refresh_from_db()
    with pytest.raises(ValidationError, match="不属于"):
        resource("appointments").save(secadmin.actor, appointment, values={"post": post})


@pytest.mark.req("P-3.1", "CL-5.2")
def test_grants_are_logged_with_old_and_new(secadmin, newcomer):
    appointment = appoint(secadmin, newcomer)
    resource("appointments").save(secadmin.actor, appointment, values={"roles": [role_called("领导查阅")]})
    entry = LogEntry.objects.filter(resource="appointments").latest("pk")
    assert (entry.act, entry.login, entry.detail["changes"]["角色"]) == ("修改", "secadmin", ["", "领导查阅"])


@pytest.mark.req("P-3.1", "P-1.5")
def test_of_a_changed_role_the_log_says_what_went_and_what_came(secadmin):
    role = role_called("村社区操作员")
    held = [permission for permission in role.permissions if permission != "people.delete"]
    resource("roles").save(secadmin.actor, role, values={"permissions": [*held, "codes.view"]})
    entry = LogEntry.objects.filter(resource="roles").latest("pk")
    assert entry.detail["changes"]["权限"] == ["人员信息：删除", "公共代码：查看"]


@pytest.mark.req("SEC-13", "P-3.1")
def test_the_log_of_a_new_account_holds_nothing_of_its_password(newcomer):
    entry = LogEntry.objects.filter(resource="operators", act="新增").latest("pk")
    named = {"登录名", "姓名", "所属单位", "启用", "启用时间", "有效期至", "须改口令"}
    assert set(entry.detail["changes"]) == named | {"外部编号", "停用原因", "限定网络"}


@pytest.mark.req("P-1.5")
def test_permissions_are_checked_in_a_table(secadmin):
    role = role_called("领导查阅")
    form = resource("roles").form_fields["permissions"](secadmin.actor)
    html = form.widget.render("permissions", role.permissions)
    assert 'value="people.view" aria-label="人员信息 查看" checked' in html
    assert 'value="people.delete" aria-label="人员信息 删除">' in html
    assert form.clean(["people.view", "no.such"]) == ["people.view"]


@pytest.mark.req("P-1.3")
def test_what_is_in_use_is_not_deleted(sysadmin, district):
    department = district.operator.organisation.department_set.first()
    with pytest.raises(ValidationError, match="职务"):
        resource("departments").delete(sysadmin.actor, department)
    post = department.post_set.first()
    Appointment.objects.filter(operator=district.operator).update(post=post)
    with pytest.raises(ValidationError, match="任职"):
        resource("posts").delete(sysadmin.actor, post)


@pytest.mark.req("P-1.3", "CL-1.3", "CL-1.4")
def test_names_are_unique_inside_the_parent(district):
    office = district.operator.organisation
    departments = resource("departments")
    made = departments.save(
        district.actor, departments.model(), values={"organisation": office, "name": "新部门"}
    )
    with pytest.raises(ValidationError, match="同名部门"):
        departments.save(
            district.actor, departments.model(), values={"organisation": office, "name": "新部门"}
        )
    posts = resource("posts")
    posts.save(district.actor, posts.model(), values={"department": made, "name": "组长"})
    with pytest.raises(ValidationError, match="同名职务"):
        posts.save(district.actor, posts.model(), values={"department": made, "name": "组长"})
    assert made.organisation == office


@pytest.mark.req("P-1.2", "CL-1.1")
def test_an_organisation_moves_with_all_below_it(sysadmin, town, othertown):
    organisations = resource("organisations")
    village = Organisation.objects.get(region="990101001002")
    organisations.save(
        sysadmin.actor, town.operator.organisation, values={"parent": othertown.operator.organisation}
    )
    village.refresh_from_db()
    moved = Organisation.objects.get(pk=town.operator.organisation_id)
    assert moved.path == othertown.operator.organisation.path + f"{moved.pk:06d}/"
    assert village.path == moved.path + f"{village.pk:06d}/"
    with pytest.raises(ValidationError, match="本单位或其下级"):
        organisations.save(sysadmin.actor, moved, values={"parent": village})


@pytest.mark.req("P-1.4")
def test_passwords_of_a_batch_are_told_once_and_kept_nowhere(secadmin, district, monkeypatch):
    monkeypatch.setattr(PBKDF2SM3PasswordHasher, "iterations", 1000)
    office = district.operator.organisation
    batch = [
        resource("operators").save(
            district.actor,
            Operator(),
            values={"login": f"clerk{n}", "name": f"甲{n}", "organisation": office},
        )
        for n in range(3)
    ]
    asked = {"pk": [operator.pk for operator in batch], "confirm": "1", "typed": "3"}
    page = secadmin.client.post("/operators/do/reset/", asked)
    told = [sentence.split("新口令是 ")[1].split("　")[0] for sentence in page.context["outcome"].said]
    for operator, password in zip(batch, told, strict=True):
        operator.refresh_from_db()
        assert operator.check_password(password)
        assert password not in str(list(LogEntry.objects.values()))
    assert told[0] in page.content.decode().replace("&#x27;", "'")


@pytest.mark.req("P-7.4", "P-1.5")
def test_who_sends_short_messages_does_not_release_them(district, town, village, venueops, regulator):
    for persona in (town, village):
        assert persona.actor.may("sms-send.send") and persona.actor.may("sms-messages.view")
        for permission in ("sms-batches.release", "sms-templates.change", "sms-messages.clear"):
            assert not persona.actor.may(permission)
    assert district.actor.may("sms-batches.release")
    for persona in (venueops, regulator):
        assert not [permission for permission in persona.actor.grants if permission.startswith("sms-")]


@pytest.mark.req("P-7.4")
def test_roles_made_before_lose_what_is_not_their_work_unless_somebody_has_chosen():
    narrow = import_module("jingwei.directory.migrations.0005_rights_to_send")
    own = ["people.view"]
    Role.objects.filter(name="村社区操作员").update(permissions=[*own, *sorted(narrow.ALL)])
    Role.objects.filter(name="乡镇街道操作员").update(permissions=[*own, "sms-batches.release"])
    Role.objects.filter(name="领导查阅").update(permissions=[*own, *sorted(narrow.READ)])
    Role.objects.filter(name="区级管理员").update(permissions=[*own, *sorted(narrow.ALL)])
    narrow.narrow(apps, None)
    held = {role.name: set(role.permissions) for role in Role.objects.all()}
    assert held["村社区操作员"] == {*own, *narrow.KEPT}
    assert held["乡镇街道操作员"] == {*own, "sms-batches.release"}
    assert held["领导查阅"] == set(own)
    assert held["区级管理员"] == {*own, *narrow.ALL}


@pytest.fixture
def entered(secadmin, village):
    """An account that the security administrator has entered, too."""
    values = {"login": "entered", "name": "新建的", "organisation": village.operator.organisation}
    return resource("operators").save(secadmin.actor, Operator(), values=values)


@pytest.fixture
def colleague(secadmin):
    """A second security administrator."""
    own = secadmin.operator
    other = Operator.objects.create(
        login="secadmin2", login_key="secadmin2", name="安全管理员二", organisation=own.organisation
    )
    held = Appointment.objects.create(operator=other, organisation=own.organisation)
    held.roles.set(own.appointments.get().roles.all())
    return Persona("secadmin2")


@pytest.mark.req("SEC-6", "P-1.8", "SEC-5")
def test_it_takes_two_to_bring_an_account_to_life(secadmin, colleague, entered):
    with pytest.raises(ValidationError, match="另一位管理员"):
        appoint(secadmin, entered, "村社区操作员")
    with pytest.raises(ValidationError, match="另一位管理员"):
        actions.reset_password(secadmin.actor, entered)
    entered.refresh_from_db()
    assert not entered.appointments.exists() and not entered.has_usable_password()
    appoint(colleague, entered, "村社区操作员")
    actions.reset_password(colleague.actor, entered)
    assert entered.appointments.count() == 1


@pytest.mark.req("SEC-6")
def test_an_account_that_lives_is_looked_after_by_who_entered_it_too(secadmin, entered):
    Operator.objects.filter(pk=entered.pk).update(last_login=timezone.now())
    entered.refresh_from_db()
    appoint(secadmin, entered, "村社区操作员")
    actions.reset_password(secadmin.actor, entered)


@pytest.mark.req("SEC-6")
def test_disabling_and_enabling_it_does_not_bring_an_account_to_life(secadmin, entered):
    actions.disable_operator(secadmin.actor, entered, reason="试试")
    actions.enable_operator(secadmin.actor, entered)
    entered.refresh_from_db()
    with pytest.raises(ValidationError, match="另一位管理员"):
        appoint(secadmin, entered, "村社区操作员")
    with pytest.raises(ValidationError, match="另一位管理员"):
        actions.reset_password(secadmin.actor, entered)


@pytest.mark.req("P-2.4")
def test_what_stands_in_for_the_password_is_given_by_who_resets_passwords(district, secadmin, village):
    """Else a manager could have an account of the area answer to the own name at another system."""
    operator = village.operator
    with pytest.raises(ValidationError, match="由安全管理员填写"):
        resource("operators").save(district.actor, operator, values={"external_id": "my-own-name"})
    new = {"login": "somebody", "name": "某人", "organisation": operator.organisation, "external_id": "mine"}
    with pytest.raises(ValidationError, match="由安全管理员填写"):
        resource("operators").save(district.actor, Operator(), values=new)
    operator.refresh_from_db()
    assert operator.external_id == ""
    resource("operators").save(secadmin.actor, operator, values={"external_id": "oa-7"})
    resource("operators").save(district.actor, operator, values={"name": "改名", "external_id": "oa-7"})

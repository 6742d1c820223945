import polars as pl
import pytest
from django.core.exceptions import FieldError, ValidationError
from django.db import connection, models
from django.test.utils import isolate_apps

from jingwei.base.crypto import Column, create_key_ring, provider
from jingwei.base.fields import (
    GramsField,
    Sealed,
    SealedField,
    bulk_reveal,
    grams_of,
    mask,
    personal_fields,
    reveal,
)

NUMBER = "990101197112042874"
ENTRY = {"purpose": "测试", "basis": "测试", "keep": "测试期间"}

with isolate_apps("jingwei.base"):

    class Card(models.Model):
        number = SealedField("证件号", kind="number", searchable=True, unique=True, **ENTRY)
        phone = SealedField("电话", kind="phone", searchable=True, blank=True, **ENTRY)
        address = SealedField("地址", kind="address", blank=True, **ENTRY)
        grams = GramsField("检索")

        class Meta:
            app_label = "base"

    class Visit(models.Model):
        pk = models.CompositePrimaryKey("number", "day")
        number = SealedField("证件号", kind="number", searchable=True, **ENTRY)
        day = models.IntegerField()

        class Meta:
            app_label = "base"


@pytest.fixture
def tables(db):
    with connection.schema_editor() as editor:
        editor.execute("SET LOCAL search_path = pg_temp, public")  # the application may make no other tables
        editor.create_model(Card)
        editor.create_model(Visit)


@pytest.fixture
def card(tables):
    """A stored card, as read from the database."""
    Card.objects.create(number=NUMBER, phone="13812345678", address="金湾镇下洋村19号")
    return Card.objects.get()


def stored(column):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM base_card ORDER BY id")
        return [value for (value,) in cursor]


@pytest.mark.req("P-4.1", "SEC-13")
def test_the_database_holds_no_clear_text(card):
    assert provider().decrypt(Column("person.number", True), stored("number")) == [NUMBER]
    assert provider().decrypt(Column("base.card.address", False), stored("address")) == ["金湾镇下洋村19号"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT card::text FROM base_card card")
        [(row,)] = cursor
    for clear in [NUMBER, "13812345678", "下洋"]:
        assert clear not in row
        assert clear.encode().hex() not in row


@pytest.mark.req("P-4.3", "SEC-16")
def test_a_value_is_masked_unless_asked_for_in_clear(card):
    assert str(card.number) == "990101********2874"
    assert f"{card.phone}" == "138****5678"
    assert repr(card.address) == "<Sealed 金湾镇下****>"
    assert card.number.clear() == NUMBER
    assert mask("phone", "13812345678") == "138****5678"


@pytest.mark.req("SEC-16")
def test_an_unsaved_value_is_as_closed_as_a_stored_one():
    card = Card(number=NUMBER)
    assert str(card.number) == "990101********2874"
    card.phone = "13812345678"
    assert str(card.phone) == "138****5678"


def test_a_value_equals_its_text(card):
    assert card.number == NUMBER == Card(number=NUMBER).number
    assert card.number != "1"
    assert card.address != Card(address="别处").address
    assert len({card.number, Card(number=NUMBER).number, NUMBER}) == 1


def test_empty_is_null(tables):
    Card.objects.create(number=NUMBER, phone="", address=None)
    card = Card.objects.get()
    assert (card.phone, card.address) == (None, None)
    assert Card.objects.filter(phone=None, address__isnull=True).count() == 1


def test_an_assigned_text_is_saved_sealed(card):
    card.address = "白沙镇1号"
    card.save()
    card.refresh_from_db()
    assert card.address.clear() == "白沙镇1号"
    number = stored("number")
    card.save()
    assert stored("number") == number


@pytest.mark.req("P-4.2")
def test_searchable_values_are_found_exactly(card):
    Card.objects.create(number="E12345678")
    assert Card.objects.get(number=NUMBER) == card
    assert Card.objects.get(number=card.number) == card
    assert Card.objects.filter(number__in=[NUMBER, "E12345678", "E00000000"]).count() == 2
    assert Card.objects.filter(number__in=[]).count() == 0
    assert Card.objects.exclude(number=NUMBER).get().number == "E12345678"
    assert Card.objects.filter(phone="").count() == 0


@pytest.mark.req("P-4.2")
def test_rows_are_joined_by_the_ciphertext(card):
    Visit.objects.create(number=card.number, day=1)
    Visit.objects.create(number="E12345678", day=1)
    visited = Visit.objects.filter(number=models.OuterRef("number"))
    assert Card.objects.filter(models.Exists(visited)).get() == card
    assert Visit.objects.get(number__in=Card.objects.values("number")).number == NUMBER
    assert Visit.objects.get(pk=(NUMBER, 1)).pk == (card.number, 1)


def test_everything_else_cannot_be_looked_up():
    for lookup in [{"address": "x"}, {"address__in": ["x"]}, {"number__gt": "1"}, {"number__contains": "1"}]:
        with pytest.raises(FieldError):
            Card.objects.filter(**lookup)


@pytest.mark.req("P-4.4")
def test_values_under_old_keys_are_found_and_kept_unique(tables, settings, tmp_path):
    settings.JINGWEI_KEYS = tmp_path / "keys.json"
    create_key_ring(settings.JINGWEI_KEYS)
    grams = grams_of([pl.Series(["下洋村"])])[0].to_list()
    Card.objects.create(number=NUMBER, grams=grams)
    provider().add_key()
    assert Card.objects.get(number=NUMBER, grams__fragment="洋村").number.clear() == NUMBER
    Card.objects.create(number="E12345678")
    assert Card.objects.filter(number__in=[NUMBER, "E12345678"]).count() == 2
    with pytest.raises(ValidationError, match="已存在"):
        Card(number=NUMBER).full_clean()


def test_full_clean_refuses_in_words(card):
    with pytest.raises(ValidationError) as caught:
        Card(number="", address="金湾镇下洋村****").full_clean()
    assert caught.value.message_dict == {
        "number": ["此字段不能为空。"],
        "address": ["这是打了星号的显示值，请填写完整内容"],
    }
    with pytest.raises(ValidationError, match="已存在"):
        Card(number=NUMBER).full_clean()
    card.full_clean()


@pytest.mark.req("SEC-14")
def test_a_ciphertext_moved_to_another_column_does_not_open(card):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE base_card SET phone = number")
    with pytest.raises(ValueError, match="does not verify"):
        Card.objects.get().phone.clear()


def test_many_rows_are_opened_together(tables, monkeypatch):
    Card.objects.bulk_create(Card(number=f"E{i:08}", address=f"{i}号") for i in range(30))
    cards = list(Card.objects.order_by("id"))
    calls = []
    decrypt = type(provider()).decrypt
    monkeypatch.setattr(type(provider()), "decrypt", lambda *args: calls.append(1) or decrypt(*args))
    bulk_reveal(cards, ["number", "phone", "address"])
    assert [card.address.clear() for card in cards] == [f"{i}号" for i in range(30)]
    assert str(cards[3].number) == "E0*****03"
    assert len(calls) == 2
    values = Card.objects.values_list("number", flat=True)
    reveal(values)
    assert all(isinstance(value, Sealed) for value in values)


@pytest.mark.req("P-4.2")
def test_a_fragment_finds_its_rows(tables):
    texts = ["金湾镇下洋村19号", "洋下村", None]
    for text, grams in zip(texts, grams_of([pl.Series(texts)]), strict=True):
        Card.objects.create(number=text or "-----", grams=None if grams is None else grams.to_list())
    found = Card.objects.filter(grams__fragment="下洋村")
    assert [card.number.clear() for card in found] == ["金湾镇下洋村19号"]
    # One character is looked for in short texts only.
    assert [card.number.clear() for card in Card.objects.filter(grams__fragment="村")] == ["洋下村"]
    assert Card.objects.filter(grams__fragment=" ").count() == 0


@pytest.mark.req("SEC-17")
def test_a_personal_column_needs_its_entry_in_the_register():
    with pytest.raises(TypeError, match="purpose"):
        SealedField(kind="phone", basis="测试", keep="测试期间")
    assert [field.name for field in personal_fields(Card)] == ["number", "phone", "address"]
    assert personal_fields(Card)[0].purpose == "测试"


def test_a_random_column_cannot_be_unique():
    field = SealedField(kind="address", unique=True, **ENTRY)
    field.set_attributes_from_name("address")
    field.model = Card
    assert [error.id for error in field.check()] == ["jingwei.E001"]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind must be one of"):
        SealedField(kind="name", **ENTRY)


def test_migrations_see_plain_columns():
    _, path, _, options = Card._meta.get_field("number").deconstruct()
    assert path == "django.db.models.BinaryField"
    assert options == {"verbose_name": "证件号", "unique": True}
    clone = Card._meta.get_field("phone").clone()
    assert (clone.kind, clone.searchable, clone.null, clone.purpose) == ("phone", True, True, "测试")

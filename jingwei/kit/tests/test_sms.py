from hypothesis import given
from hypothesis import strategies as st

from jingwei.kit.sms import split


def units(text):
    return len(text.encode("utf-16-be")) // 2


def test_seventy_characters_are_one_message():
    assert split("核" * 70) == ["核" * 70]
    assert [len(part) for part in split("核" * 71)] == [67, 4]


def test_a_character_of_two_units_is_not_torn_apart():
    assert split("核" * 66 + "𬭎" + "酸" * 10)[0] == "核" * 66


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400))
def test_the_parts_are_the_text_and_fit(text):
    parts = split(text)
    assert "".join(parts) == text
    assert units(text) <= 70 if len(parts) == 1 else all(0 < units(part) <= 67 for part in parts)

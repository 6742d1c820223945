"""A browser's name for itself in words."""

import pytest

from jingwei.kit.devices import device_in_words

KIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.req("P-2.3")
@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {KIT} Chrome/130.0 Safari/537.36", "Chrome · Windows"),
        (f"Mozilla/5.0 (Windows NT 10.0) {KIT} Chrome/130.0 Safari/537.36 Edg/130.0", "Edge · Windows"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox · Linux"),
        (f"Mozilla/5.0 (Linux; Android 14) {KIT} Chrome/120 MicroMessenger/8.0", "微信 · Android"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("", ""),
    ],
)
def test_program_and_system_are_told(user_agent, words):
    assert device_in_words(user_agent) == words

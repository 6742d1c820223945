"""What a browser calls itself, in words."""

# The first that is found counts: most browsers call themselves by the names of others, too.
_PROGRAMS = [
    ("MicroMessenger", "微信"),
    ("DingTalk", "钉钉"),
    ("QQBrowser", "QQ 浏览器"),
    ("360SE", "360 浏览器"),
    ("Edg", "Edge"),
    ("Firefox", "Firefox"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
    ("Trident", "IE"),
]
_SYSTEMS = [
    ("Windows", "Windows"),
    ("HarmonyOS", "鸿蒙"),
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Macintosh", "Mac"),
    ("Linux", "Linux"),
]


def device_in_words(user_agent: str) -> str:
    """Program and system of a User-Agent header: "Chrome · Windows"; the beginning of one not known."""
    found = [
        next((word for sign, word in signs if sign in user_agent), "") for signs in (_PROGRAMS, _SYSTEMS)
    ]
    return " · ".join(filter(None, found)) or user_agent[:40]

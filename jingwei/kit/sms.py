"""How a text travels as short messages: 70 characters of UCS-2, or parts of 67 that the phone joins again."""

WHOLE = 70  # UTF-16 code units of an SMS of 140 octets (3GPP TS 23.038)
PART = 67  # beside the six octets that number a part (3GPP TS 23.040, 9.2.3.24.1)


def split(text: str) -> list[str]:
    """The parts `text` is sent in, at least one. A character outside the basic plane is never torn apart."""
    if _units(text) <= WHOLE:
        return [text]
    parts, filled = [""], 0
    for character in text:
        if filled + _units(character) > PART:
            parts.append("")
            filled = 0
        parts[-1] += character
        filled += _units(character)
    return parts


def _units(text):
    return len(text.encode("utf-16-be", "surrogatepass")) // 2

"""A question that a person answers and a program hardly: asked after wrong tries and of applicants (P-2.1).

Pages carry a question's answer sealed with its time, so nothing is kept for questions nobody answers and
nothing hangs on the session. What is kept, for as long as a question lives, is which ones were answered.

The picture is drawn here. Who cannot see it asks for a sum in words, which keeps out fewer programs: guessing
is stopped by the locks, not by this.
"""

import base64
import binascii
import hashlib
import secrets
import time
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO

from django.db import IntegrityError, transaction
from django.utils import timezone
from PIL import Image, ImageDraw, ImageFont

from jingwei.base.crypto import Column, provider
from jingwei.directory.models import AnsweredCaptcha, login_key
from jingwei.kit.sm4siv import Tampered

LIFE = 300  # seconds
LETTERS = "ACDEFHJKLMNPRTUVWXY34679"  # without look-alikes
SIZE = (150, 50)
WRONG = "验证码不正确或已过期，请按新的验证码填写"
_SEALING = Column("signin.captcha", searchable=False)


@dataclass(frozen=True)
class Question:
    """`picture` as a data address or, instead, `words`; `token` comes back with the answer."""

    token: str
    picture: str = ""
    words: str = ""


def question(*, words=False) -> Question:
    """A new question, in words where the picture cannot be seen."""
    if words:
        one, other = secrets.randbelow(40) + 11, secrets.randbelow(8) + 2
        return Question(
            _token(str(one + other)), words=f"{_in_words(one)}加{_in_words(other)}等于几？请填数字"
        )
    answer = "".join(secrets.choice(LETTERS) for _ in range(4))
    return Question(_token(answer), picture=_draw(answer))


def take(token: str, answer: str) -> bool:
    """Whether `answer` answers the question of `token`, which is asked for the first and last time now."""
    try:
        [sealed] = provider().decrypt(_SEALING, [base64.urlsafe_b64decode(token)])
    except (Tampered, binascii.Error, ValueError):
        return False
    right, _, until = sealed.partition(" ")
    if login_key(answer) != login_key(right) or float(until) < time.time():
        return False
    AnsweredCaptcha.objects.filter(at__lt=timezone.now() - timedelta(seconds=LIFE)).delete()
    try:
        with transaction.atomic():
            AnsweredCaptcha.objects.create(digest=hashlib.sha256(token.encode()).hexdigest())
    except IntegrityError:
        return False
    return True


def _token(answer):
    [sealed] = provider().encrypt(_SEALING, [f"{answer} {time.time() + LIFE}"])
    return base64.urlsafe_b64encode(sealed).decode()


def _in_words(number):
    tens, ones = divmod(number, 10)
    digits = "零一二三四五六七八九"
    return ("" if tens == 0 else "十" if tens == 1 else digits[tens] + "十") + (digits[ones] if ones else "")


def _draw(answer):
    """The letters, each turned and shifted, under lines."""
    width, height = SIZE
    drawn = secrets.SystemRandom()
    picture = Image.new("L", SIZE, 250)
    for place, letter in enumerate(answer):
        font = ImageFont.load_default(drawn.randint(30, 38))
        tile = Image.new("L", (46, 46), 0)
        ImageDraw.Draw(tile).text((23, 23), letter, 255, font, anchor="mm")
        tile = tile.rotate(drawn.uniform(-28, 28), Image.Resampling.BICUBIC)
        at = (4 + place * 35 + drawn.randint(-4, 4), drawn.randint(-3, 6))
        picture.paste(drawn.randint(20, 90), (*at, at[0] + 46, at[1] + 46), tile)
    pen = ImageDraw.Draw(picture)
    for _ in range(4):
        ends = [(drawn.randint(-10, width), drawn.randint(0, height)) for _ in range(2)]
        pen.line([ends[0], (ends[1][0] + 40, ends[1][1])], fill=drawn.randint(40, 140), width=2)
    pen.point(
        [(drawn.randrange(width), drawn.randrange(height)) for _ in range(250)], fill=drawn.randint(60, 160)
    )
    file = BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"

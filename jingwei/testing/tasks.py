"""What others ask of the package that keeps the samples, once their transaction has ended."""

from procrastinate.contrib.django import app

from jingwei.people.actions import ROLL_UP_SAMPLES
from jingwei.testing.actions import find_samples_of


@app.task(name=ROLL_UP_SAMPLES, retry=5)
def roll_up(people):
    """Work out the latest samples of the people with these ids anew."""
    find_samples_of(people)

"""What others ask of the package that keeps the samples, once their transaction has ended."""

from procrastinate.contrib.django import app

from jingwei.people.actions import ROLL_UP_SAMPLES
from jingwei.people.models import Person
from jingwei.people.queries import numbers_of
from jingwei.testing.actions import roll_up_samples


@app.task(name=ROLL_UP_SAMPLES)
def roll_up(people):
    """Work out the latest samples of the people with these ids anew."""
    found = Person.objects.filter(pk__in=people).prefetch_related("aliases")
    roll_up_samples([number.blob() for person in found for number in numbers_of(person)])

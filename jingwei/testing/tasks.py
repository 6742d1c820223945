"""The timetable of the samples, and what others ask for once their transaction has ended."""

from procrastinate.contrib.django import app

from jingwei.base.wall import beyond_scope
from jingwei.desk.tasks import schedule
from jingwei.people.actions import ROLL_UP_SAMPLES
from jingwei.testing import queries
from jingwei.testing.actions import find_samples_of

schedule(queries.RECOUNT, queries.RECOUNT_LABEL, queries.recount, "45 15 * * *")


@app.task(name=ROLL_UP_SAMPLES, retry=5)
@beyond_scope()
def roll_up(people):
    """Work out the latest samples of the people with these ids anew."""
    find_samples_of(people)

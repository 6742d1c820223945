"""The timetable of the register."""

from procrastinate.contrib.django import app

from jingwei.base.wall import beyond_scope
from jingwei.desk.tasks import schedule
from jingwei.people import duplicates, registering, statistics

schedule(duplicates.SEARCH, duplicates.LABEL, duplicates.search, "40 18 * * *")
schedule(registering.TIDY, registering.TIDY_LABEL, registering.tidy, "10 19 * * *")
# Before midnight in Beijing: the counts of the new day are ready when it begins.
schedule(statistics.RECOUNT, statistics.RECOUNT_LABEL, statistics.recount, "30 15 * * *")


@app.periodic(cron="*/5 * * * *")
@app.task(name="people.refresh_statistics", queueing_lock="people.refresh_statistics")
@beyond_scope()
def refresh_statistics(timestamp):
    """Bring the counts up to date, also after a load or with another parameter."""
    statistics.refresh()

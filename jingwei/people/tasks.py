"""The timetable of the register."""

from jingwei.desk.tasks import schedule
from jingwei.people import duplicates

schedule(duplicates.SEARCH, duplicates.LABEL, duplicates.search, "40 18 * * *")

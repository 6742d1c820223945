"""Every resource and page of the desk, in menu order: the list is the menu."""

from functools import cache

from jingwei.base import chain, reading, replica, undoing
from jingwei.base.resource import Page, Resource, System
from jingwei.base.sheets import Sheet, sheet_of
from jingwei.desk import attachments, boundaries, files, job_pages, jobs, unmasking
from jingwei.desk import personal as desk_personal
from jingwei.directory import menus, oa_actions
from jingwei.directory import pages as directory_pages
from jingwei.directory import parameters as directory_parameters
from jingwei.directory import personal as directory_personal
from jingwei.directory import resources as directory
from jingwei.exchange import personal as exchange_personal
from jingwei.exchange import queries as exchange_queries
from jingwei.exchange import resources as exchange
from jingwei.exchange import sources as exchange_sources
from jingwei.messages import actions as messages_actions
from jingwei.messages import pages as messages_pages
from jingwei.messages import personal as messages_personal
from jingwei.messages import resources as messages
from jingwei.oversight import alarms, cryptography, personal_desk
from jingwei.oversight import pages as oversight_pages
from jingwei.oversight import personal as oversight_personal
from jingwei.oversight import resources as oversight
from jingwei.people import emergency, emergency_desk
from jingwei.people import pages as people_pages
from jingwei.people import personal as people_personal
from jingwei.people import queries as people_queries
from jingwei.people import resources as people
from jingwei.people import sheets as people_sheets
from jingwei.places import personal as places_personal
from jingwei.places import resources as places
from jingwei.running import health
from jingwei.running import personal as running_personal
from jingwei.scans import actions as scans_actions
from jingwei.scans import mobile as scans_mobile
from jingwei.scans import pages as scans_pages
from jingwei.scans import personal as scans_personal
from jingwei.scans import resources as scans
from jingwei.scans import venue_map
from jingwei.testing import pages as testing_pages
from jingwei.testing import personal as testing_personal
from jingwei.testing import resources as testing
from jingwei.testing import sheets as testing_sheets

SYSTEMS = [
    System(
        "residents",
        "常住人口",
        "users",
        [
            *people.RESOURCES,
            *testing.RESOURCES,
            *people_pages.PAGES,
            *testing_pages.PAGES,
            *emergency_desk.PAGES,
            *emergency_desk.RESOURCES,
            *personal_desk.REQUESTS,
        ],
    ),
    System(
        "supervision",
        "公共场所",
        "building-store",
        [*places.RESOURCES, *venue_map.PAGES, *scans.RESOURCES, *scans_pages.PAGES, *exchange.RESOURCES],
    ),
    System("messages", "短信", "message", [*messages_pages.PAGES, *messages.RESOURCES]),
    System(
        "oversight",
        "安全与审计",
        "shield-check",
        [
            *oversight.RESOURCES,
            *oversight_pages.PAGES,
            *cryptography.PAGES,
            *emergency_desk.REVIEWS,
            *personal_desk.PAGES,
            *personal_desk.RESOURCES,
        ],
    ),
    System(
        "administration",
        "系统管理",
        "settings",
        [
            *directory.RESOURCES,
            *directory_pages.PAGES,
            *boundaries.PAGES,
            *exchange.ADMINISTRATION,
            Page(
                "jobs-of-all",
                "后台任务",
                "jobs.view",
                [("", job_pages.everyone), ("run/<str:kind>/", job_pages.run_now)],
                "progress",
            ),
        ],
    ),
]

# What each package says of the personal data in its tables (SEC-17).
PERSONAL = [
    desk_personal,
    directory_personal,
    messages_personal,
    exchange_personal,
    places_personal,
    scans_personal,
    testing_personal,
    people_personal,
    oversight_personal,
    running_personal,
]

PARAMETERS = [
    *directory_parameters.PARAMETERS,
    *oa_actions.PARAMETERS,
    *people_queries.PARAMETERS,
    *emergency.PARAMETERS,
    *people_sheets.PARAMETERS,
    *testing_sheets.PARAMETERS,
    *scans_actions.PARAMETERS,
    *scans_mobile.PARAMETERS,
    *messages_actions.PARAMETERS,
    exchange_queries.INTERVAL,
    exchange_sources.TIMEOUT,
    *reading.PARAMETERS,
    undoing.UNDO_DAYS,
    *attachments.PARAMETERS,
    *files.PARAMETERS,
    *jobs.PARAMETERS,
    *unmasking.PARAMETERS,
    *chain.PARAMETERS,
    *alarms.PARAMETERS,
    *replica.PARAMETERS,
    *health.PARAMETERS,
    *(parameter for package in PERSONAL for parameter in package.PARAMETERS),
]


@cache
def resources() -> dict[str, Resource]:
    """Every resource by its name."""
    return {
        entry.name: entry for system in SYSTEMS for entry in system.entries if isinstance(entry, Resource)
    }


def resource(name) -> Resource:
    """The resource of that name; KeyError if there is none."""
    return resources()[name]


def pages() -> list[Page]:
    """Every page that is no resource's."""
    return [entry for system in SYSTEMS for entry in system.entries if isinstance(entry, Page)]


@cache
def sheets() -> dict[str, Sheet]:
    """Every kind of sheet that can be imported, by its name on the command line."""
    found = [sheet_of(entry) for entry in resources().values() if "import" in entry.actions]
    return {sheet.name: sheet for sheet in found if sheet}


@cache
def permissions() -> list[str]:
    """Every permission that can be granted, in menu order."""
    found = [permission for entry in resources().values() for permission in entry.permissions()]
    return list(dict.fromkeys([*found, *(page.permission for page in pages())]))


def entries_for(actor) -> list[tuple[System, list[Resource | Page]]]:
    """The menu of `actor`, as administrators arranged it: systems with the entries that may be opened."""
    systems = menus.arranged(SYSTEMS)
    shown = [(s, [entry for entry in s.entries if actor.may_open(entry.name, opens(entry))]) for s in systems]
    return [(system, entries) for system, entries in shown if entries]


def opens(entry) -> str:
    """The permission that opens an entry of the menu."""
    return entry.permission if isinstance(entry, Page) else f"{entry.name}.view"

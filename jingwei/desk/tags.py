"""Template tags that every page may use without loading them."""

from datetime import datetime
from functools import cache

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.safestring import mark_safe

from jingwei import menu

register = template.Library()
LONG = 12  # characters from which a cell says its text in a tooltip, too


@cache
def _sprite():
    return static("vendor/icons/icons.svg")


@register.simple_tag
@cache  # a list page has more than a hundred, of few kinds
def icon(name, label=""):
    """An icon of the sprite. Without a label it is decoration."""
    meaning = format_html('role="img" aria-label="{}"', label) if label else mark_safe('aria-hidden="true"')
    return format_html('<svg class="icon" {}><use href="{}#{}"></use></svg>', meaning, _sprite(), name)


@register.simple_tag
def cells(row):
    """The cells of a table row. Built here because a list page has more than six hundred of them."""
    made = []
    for cell in row.cells:
        text = escape(cell.text)
        title = f' title="{text}"' if len(cell.text) > LONG else ""
        if cell.kind == "link":
            inner = f'<a href="{escape(row.address)}" data-open>{text or "（无）"}</a>' if row.opens else text
            made.append(f'<th scope="row"{title}>{inner}</th>')
        else:
            made.append(
                f'<td class="{cell.kind}"{title}>{text}</td>' if cell.kind else f"<td{title}>{text}</td>"
            )
    return mark_safe("".join(made))  # noqa: S308 every text above is escaped


@register.simple_tag(takes_context=True)
def menu_entries(context):
    """The menu of the operator: [(system, entries)]."""
    return menu.entries_for(context["request"].actor)


@register.simple_tag
def search_target(systems):
    """What the search field above every page searches: the first resource that can be searched."""
    entries = [entry for _, entries in systems for entry in entries]
    return next((entry for entry in entries if getattr(entry, "search", ())), None)


@register.simple_tag(takes_context=True)
def cookie(context, name, default=""):
    """A choice of the browser, such as the dark theme."""
    return context["request"].COOKIES.get(name, default)


@register.filter
def required_in(bound_field):
    """Whether a field of a record's form has to be filled in."""
    form = bound_field.form
    return form.is_required(bound_field.name) if hasattr(form, "is_required") else bound_field.field.required


@register.filter
def starts_with(text, beginning):
    """Whether an address lies below another."""
    return text.startswith(beginning)


@register.filter
def moment(at):
    """A date, or a time to the minute, of a time line."""
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M}" if isinstance(at, datetime) else f"{at:%Y-%m-%d}"


@register.filter
def thousands(number):
    """A count as it is read: 97,999."""
    return f"{number or 0:,}"

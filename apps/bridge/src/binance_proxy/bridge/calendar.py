"""Days as a calendar: months as blocks, a cell a day, in the terminal."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, timedelta

from rich.text import Text

EPOCH = date(1970, 1, 1)
MONTHS_BESIDE = 3
WEEKDAYS = "Mo Tu We Th Fr Sa Su"
WIDE = len(WEEKDAYS)

GRADES = (
    (1.0, "██", "green", "no id is missing"),
    (0.99, "▓▓", "green3", "99 % of ids or more"),
    (0.5, "▒▒", "yellow", "half or more"),
    (0.0, "░░", "red", "less"),
)
"""From which share on a day looks how; they differ without colour too."""
UNKNOWN = ("▪▪", "cyan", "there; ids do not tell how much")
NOTHING = ("··", "dim", "nothing")


def grade(share: float | None, *, there: bool) -> tuple[str, str, str]:
    """Return how a day looks: its cell, its style, and what that says."""
    if share is None:
        return UNKNOWN if there else NOTHING
    return next((cell, style, text) for least, cell, style, text in GRADES if share >= least)


def day_of(day: int) -> date:
    """Return the date of a day since 1970."""
    return EPOCH + timedelta(days=day)


def months(first: date, last: date) -> Iterator[date]:
    """Yield the first day of each month from one day to another."""
    month = first.replace(day=1)
    while month <= last:
        yield month
        month = (month + timedelta(days=31)).replace(day=1)


def weeks(month: date) -> Iterator[Sequence[date | None]]:
    """Yield the weeks of a month from Monday on; days of other months are `None`."""
    day = month - timedelta(days=month.weekday())
    while day < month or day.month == month.month:
        week = [day + timedelta(days=number) for number in range(7)]
        yield [one if one.month == month.month else None for one in week]
        day += timedelta(days=7)


def drawn(days: Mapping[date, tuple[float | None, bool]]) -> Iterator[Text]:
    """Yield the lines of a calendar.

    Args:
        days: Which share of a day is there, and whether anything is. Others are drawn as nothing.
    """
    if not days:
        return
    blocks = [_month(month, days) for month in months(min(days), max(days))]
    for at in range(0, len(blocks), MONTHS_BESIDE):
        beside = blocks[at : at + MONTHS_BESIDE]
        for number in range(max(len(block) for block in beside)):
            line = Text("  ").join(
                block[number] if number < len(block) else Text(" " * WIDE) for block in beside
            )
            line.rstrip()
            yield line
        yield Text()


def legend(shares: Collection[float | None]) -> Text:
    """Return what the cells say, on one line; what cannot be told only if one of the days is such."""
    known = [(cell, style, text) for _, cell, style, text in GRADES]
    shown = [*known, UNKNOWN, NOTHING] if None in shares else [*known, NOTHING]
    return Text("   ").join(Text.assemble((cell, style), f" {text}") for cell, style, text in shown)


def _month(month: date, days: Mapping[date, tuple[float | None, bool]]) -> list[Text]:
    lines = [Text(f"{month:%B %Y}".center(WIDE), "bold"), Text(WEEKDAYS, "dim")]
    for week in weeks(month):
        cells = []
        for day in week:
            share, there = days.get(day, (None, False)) if day else (None, False)
            cell, style, _ = grade(share, there=there)
            cells.append(Text(cell, style) if day else Text("  "))
        lines.append(Text(" ").join(cells))
    return lines

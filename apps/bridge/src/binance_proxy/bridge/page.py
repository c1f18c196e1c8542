"""A page of what is stored, day by day: one file, without anything from elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from html import escape

from binance_proxy.application.stats import DayStats
from binance_proxy.bridge.calendar import GRADES, NOTHING, UNKNOWN, day_of, grade, months, weeks

_LOOKS = {
    **{text: f"grade{number}" for number, (_, _, _, text) in enumerate(GRADES)},
    UNKNOWN[2]: "unknown",
    NOTHING[2]: "nothing",
}
_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --line: #d5dae0;
  --grade0: #1a7f37; --grade1: #6fbf73; --grade2: #e3b341; --grade3: #cf222e;
  --unknown: #2f81b7; --nothing: #eceff2 }
@media (prefers-color-scheme: dark) { :root { --paper: #0f1318; --ink: #e3e8ee; --line: #323941;
  --grade0: #2ea043; --grade1: #7ac37e; --grade2: #d29922; --grade3: #da3633;
  --unknown: #2f81b7; --nothing: #20262d } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
.months { display: flex; flex-wrap: wrap; gap: 1.5rem }
.month h3 { margin: 0 0 .3rem; font-size: .9rem }
.days { display: grid; grid-template-columns: repeat(7, 1.3rem); gap: 3px }
.day { height: 1.3rem; border-radius: 3px; font-size: .65rem; text-align: center; line-height: 1.3rem }
.grade0 { background: var(--grade0); color: #fff }
.grade1 { background: var(--grade1); color: #000 }
.grade2 { background: var(--grade2); color: #000 }
.grade3 { background: var(--grade3); color: #fff }
.unknown { background: var(--unknown); color: #fff }
.nothing { background: var(--nothing) }
.legend { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1rem 0 }
.legend .day { display: inline-block; width: 1.3rem; vertical-align: middle }
.wide { overflow-x: auto; margin-top: 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100% }
th, td { text-align: right; padding: .2rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap }
th:first-child, td:first-child { text-align: left }
"""


def page(
    of: Mapping[str, Sequence[DayStats]], columns: Sequence[str], rows: Mapping[str, Sequence[Sequence[str]]]
) -> str:
    """Return the page as HTML.

    Args:
        of: The days of each instrument, by the instrument's name.
        columns: Of the tables.
        rows: The rows of each instrument's table.
    """
    body = "\n".join(_section(name, days, columns, rows[name]) for name, days in of.items())
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>What is stored</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>What is stored</h1>\n"
        f"{_legend()}\n{body or '<p>Nothing.</p>'}\n</body>\n</html>\n"
    )


def _section(
    name: str, days: Sequence[DayStats], columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> str:
    by_date = {day_of(one.day): one for one in days}
    blocks = "\n".join(_month(month, by_date) for month in months(min(by_date), max(by_date)))
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<section>\n<h2>{escape(name)}</h2>\n<div class="months">\n{blocks}\n</div>\n<div class="wide">'
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table></div>\n</section>"
    )


def _month(month: date, days: Mapping[date, DayStats]) -> str:
    cells = "".join(_cells(month, days))
    return f'<div class="month"><h3>{month:%B %Y}</h3><div class="days">{cells}</div></div>'


def _cells(month: date, days: Mapping[date, DayStats]) -> Iterator[str]:
    for week in weeks(month):
        for day in week:
            if day is None:
                yield "<span></span>"
                continue
            one = days.get(day)
            share = one.share if one else None
            _, _, text = grade(share, there=one is not None)
            known = f", {share:.4%} of ids" if share is not None else ""
            yield f'<span class="day {_LOOKS[text]}" title="{day}: {escape(text)}{known}">{day.day}</span>'


def _legend() -> str:
    shown = [*(text for *_, text in GRADES), UNKNOWN[2], NOTHING[2]]
    items = "".join(f'<span><span class="day {_LOOKS[text]}"></span> {escape(text)}</span>' for text in shown)
    return f'<div class="legend">{items}</div>'

"""What every question is made of: which instrument, from when until when, how many rows."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from binance_proxy.application.ends import END_OF_TIME
from binance_proxy.application.serve.failures import WrongParams
from binance_proxy.domain.candle import SECOND_NS, Timeframe
from binance_proxy.domain.errors import ConfigError
from binance_proxy.domain.instrument import Market

MOST_ROWS = 10_000
"""Rows of a page as text."""
MOST_ARROW_ROWS = 100_000
"""Rows of a page as Arrow."""

_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.([0-9]{1,9}))?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_PLACE = re.compile(r"(.*) - at `\$\.?([^`]*)`", re.DOTALL)
_FIELD = re.compile(r"Object (?:missing required|contains unknown) field `(.*)`", re.DOTALL)

Time: TypeAlias = (
    Annotated[int, Meta(ge=0, le=END_OF_TIME)] | Annotated[str, Meta(min_length=1, max_length=40)]
)
Start: TypeAlias = Annotated[
    Time | None,
    Meta(
        description="First moment of the range: ns since the epoch, or text such as 2024-08-09T00:00:00Z;"
        " without it the newest `limit` rows are answered"
    ),
]
End: TypeAlias = Annotated[
    Time | None, Meta(description="First moment behind the range, likewise; without it, there is none")
]
At: TypeAlias = Annotated[
    Time | None, Meta(description="The moment, ns or text with a zone; without it, now, from the recording")
]
Fetch: TypeAlias = Annotated[
    bool,
    Meta(
        description="Have trades that are not stored fetched from the venue and stored first; needs `start`"
    ),
]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=100_000)]


class Asked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every method takes."""

    timeout_ms: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="How long the answer may take; `serve.timeout_ms` if left out"),
    ] = None


class AskedOf(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question about one instrument."""

    symbol: Annotated[str, Meta(min_length=1, max_length=64, description="The pair, such as ETH/USDT")]
    venue: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64)] | None,
        Meta(description="Its venue, if the pair was recorded on several"),
    ] = None
    market: Annotated[Market | None, Meta(description="Its market, if the pair was recorded on several")] = (
        None
    )


class AskedRows(AskedOf, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question with rows as its answer."""

    start: Start = None
    end: End = None
    limit: Annotated[
        Count,
        Meta(description="Rows of a page; at most 10,000, and 100,000 with `accept: arrow`"),
    ] = 1_000
    cursor: Annotated[
        Annotated[str, Meta(min_length=1, max_length=400)] | None,
        Meta(description="`next` of the page before, of the same question"),
    ] = None
    accept: Annotated[
        Literal["arrow"] | None,
        Meta(description="`arrow` puts the rows into a second frame, as an Arrow IPC stream"),
    ] = None
    fresh: Annotated[bool, Meta(description="Work it out anew, past the cache")] = False


AnyAsked = TypeVar("AnyAsked", bound=Asked)


def read_params(kind: type[AnyAsked], raw: object) -> AnyAsked:
    """Read parameters strictly: nothing is taken for something else, and nothing is passed over.

    Raises:
        WrongParams: One is missing, unknown, of another type, or out of range. It is named.
    """
    try:
        found = msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise _named(str(error)) from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise WrongParams("", "the parameters cannot be read") from error
    _refuse_surrogates(found)
    return found


def _named(text: str) -> WrongParams:
    """Put the name of the parameter before what msgspec says of it."""
    if field := _FIELD.fullmatch(text):
        if "missing" in text:
            return WrongParams(field[1][:64], "is missing")
        return WrongParams(field[1][:64], "there is no such parameter")
    if (place := _PLACE.fullmatch(text)) and place[2]:
        what = place[1]
        return WrongParams(place[2], what[0].lower() + what[1:])
    return WrongParams("", f"params must be a map of names to values: {text[0].lower()}{text[1:]}")


def _refuse_surrogates(params: Asked) -> None:
    """Refuse text that cannot be written as UTF-8."""
    for name in params.__struct_fields__:
        value = getattr(params, name)
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise WrongParams(name, "is not Unicode text") from error


def time_of(name: str, given: int | str) -> int:
    """Return a time as ns since the epoch.

    Raises:
        WrongParams: It is no time, has no zone, or lies before 1970 or behind 2116.
    """
    if isinstance(given, int):
        return given
    match = _TIME.fullmatch(given)
    if match is None:
        raise WrongParams(name, f"{given!r} is not a time such as 2024-08-08T23:55:00Z")
    if match[4] is None:
        raise WrongParams(name, f"{given!r} has no time zone: write {given}Z for UTC")
    try:
        at = datetime.fromisoformat(f"{match[1]}T{match[2]}{match[4]}")
    except ValueError as error:
        raise WrongParams(name, f"{given!r} is not a time such as 2024-08-08T23:55:00Z") from error
    seconds = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    ns = seconds * SECOND_NS + int((match[3] or "").ljust(9, "0"))
    if not 0 <= ns <= END_OF_TIME:
        raise WrongParams(name, f"{given!r} does not lie between 1970 and 2116")
    return ns


def range_of(start: int | str | None, end: int | str | None) -> tuple[int | None, int]:
    """Return both ends of a range, in ns.

    Raises:
        WrongParams: One is no time, or the start does not lie before the end.
    """
    first = None if start is None else time_of("start", start)
    behind = END_OF_TIME if end is None else time_of("end", end)
    if first is not None and first >= behind:
        raise WrongParams("start", "must lie before `end`")
    return first, behind


def limit_of(asked: AskedRows) -> int:
    """Return how many rows a page has at most.

    Raises:
        WrongParams: More than there may be without Arrow.
    """
    if asked.limit > MOST_ROWS and asked.accept != "arrow":
        raise WrongParams("limit", f"expected `int` <= {MOST_ROWS}; more only with `accept: arrow`")
    return asked.limit


def timeframe_of(name: str) -> Timeframe:
    """Return the timeframe of a name such as 1m.

    Raises:
        WrongParams: It is none.
    """
    try:
        return Timeframe(name)
    except ConfigError as error:
        raise WrongParams("timeframe", str(error)) from error

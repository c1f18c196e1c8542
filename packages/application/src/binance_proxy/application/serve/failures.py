"""What becomes of an error in an answer: its code, and whether asking again helps. All of it in one place."""

from msgspec import Struct

from binance_proxy.application.ports import LiveUnavailable, StoreUnavailable
from binance_proxy.application.rebuild import BookUnknown
from binance_proxy.domain.errors import BookStale, BridgeError, ConfigError, NotEnoughLiquidity
from binance_proxy.domain.instrument import Instrument


class WrongParams(BridgeError):
    """What was asked makes no sense. The message names the parameter, and what was expected."""

    def __init__(self, name: str, expected: str) -> None:
        """Name the parameter; empty if it is all of them."""
        super().__init__(f"{name}: {expected}" if name else expected)
        self.name = name


class NothingStored(BridgeError):
    """There is nothing in the store that could answer."""


class Ambiguous(ConfigError):
    """A pair was recorded in several places, and the question does not say which one is meant."""

    def __init__(self, pair: str, how: str, meant: list[Instrument]) -> None:
        """Say which ones there are."""
        places = ", ".join(f"{one.venue} {one.market}" for one in meant)
        super().__init__(
            f"{pair} was {how} in {len(meant)} places; say which by `venue` and `market`: {places}"
        )
        self.pair, self.how, self.meant = pair, how, meant


class TooLarge(BridgeError):
    """The answer would be larger than what is sent at once. Ask for less of it."""


class Failure(Struct, frozen=True, kw_only=True):
    """An error, as whoever asked is told of it."""

    code: int
    message: str
    kind: str
    """The class of the error."""
    retry: bool
    """Whether asking the same again may help."""


DEADLINE, AWAY, NOTHING, STALE, UNKNOWN, LARGE = -32001, -32003, -32004, -32005, -32006, -32007
WRONG, OURS = -32602, -32603

CODES: tuple[tuple[type[Exception], int, bool], ...] = (
    (WrongParams, WRONG, False),
    (Ambiguous, WRONG, False),
    (TimeoutError, DEADLINE, True),
    (StoreUnavailable, AWAY, True),
    (LiveUnavailable, AWAY, True),
    (NothingStored, NOTHING, False),
    (NotEnoughLiquidity, NOTHING, True),
    (BookStale, STALE, True),
    (BookUnknown, UNKNOWN, False),
    (TooLarge, LARGE, False),
)
"""The first class that an error is of says its code, and whether asking again may help."""

MEANINGS = {
    WRONG: "A parameter is wrong; the message names it, and what was expected",
    OURS: "The bridge made a mistake, or what is stored is damaged",
    DEADLINE: "The deadline passed before there was an answer",
    AWAY: "The store or the recording is away; try again",
    NOTHING: "It was never recorded, or nothing is there that could answer",
    STALE: "The book is out of step, and will be right again soon",
    UNKNOWN: "What is stored does not say how the book was then; the message names when it is known again",
    LARGE: "The answer would be too large; ask for less",
}


def failure_of(error: Exception) -> Failure | None:
    """Say how an error is told; `None` if it was not raised on purpose, and its text is not for others."""
    for kind, code, retry in CODES:
        if isinstance(error, kind):
            message = str(error) or MEANINGS[code]
            return Failure(code=code, message=message, kind=type(error).__name__, retry=retry)
    if isinstance(error, BridgeError):
        return Failure(code=OURS, message=str(error), kind=type(error).__name__, retry=False)
    return None

"""What can go wrong, as one tree.

```
BridgeError
├── ConfigError            stop: a setting is wrong, and the message names it
├── ScaleError             skip the tick: a number does not fit the instrument's units
│   └── TimeTooCoarse      likewise: its time says less than the instrument's
├── TickRejected           skip the tick: it says something that cannot be true
├── BookStale              take a snapshot: the book missed an update
├── NotEnoughLiquidity     the question has no answer on this book
└── one branch for each port, in `binance_proxy.application.ports`
    ├── ...Unavailable     try again later
    └── ...Rejected        stop: trying again changes nothing
```
"""


class BridgeError(Exception):
    """Anything this project raises on purpose. Its text is one sentence for a person."""


class ConfigError(BridgeError):
    """A setting is unknown, missing or wrong. The message names the key."""


class ScaleError(BridgeError, ValueError):
    """A number cannot be held exactly in the units of its instrument."""


class TimeTooCoarse(ScaleError):
    """A time is coarser than those of its instrument, so the same tick could be stored twice."""


class TickRejected(BridgeError, ValueError):
    """A tick says something impossible: a price of zero, a negative size, ids that run backwards."""


class BookStale(BridgeError):
    """The book missed an update, so it must not be used until the next snapshot."""


class NotEnoughLiquidity(BridgeError):
    """The side of the book that was asked about is empty."""

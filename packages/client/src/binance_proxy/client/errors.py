"""What can go wrong, as one tree.

```
ClientError
├── BookStale         wait: the book is not right at the moment, and comes back by itself
├── BridgeAway        try again later: nothing answers at the address
│   └── WrongAddress      stop: that is no address of a bridge
├── UnknownPair       stop: the bridge records no such pair, or several; the message says which there are
├── Unavailable       stop: a package for frames is not installed; the message names it
└── RequestFailed     the bridge said no; `retry` says whether asking again may help
    └── RequestTimedOut   no answer came in time
```
"""


class ClientError(Exception):
    """Anything this client raises on purpose. Its text is one sentence for a person."""


class BookStale(ClientError):
    """The book is not in step with the bridge's; the text says why. It gets back into step by itself."""


class BridgeAway(ClientError):
    """No bridge answers at the address. Trying again later may help."""


class WrongAddress(BridgeAway):
    """What was given is no address such as ``tcp://127.0.0.1:5556``, or what is there is no bridge. Stop."""


class UnknownPair(ClientError):
    """The bridge does not record this pair, or in several places. The message names what it has."""


class Unavailable(ClientError):
    """Something that is asked for needs a package that is not installed. The message names it."""


class RequestFailed(ClientError):
    """The bridge answered with an error."""

    def __init__(self, method: str, message: str, *, code: int, kind: str = "", retry: bool = False) -> None:
        """Keep what the bridge said of it.

        Args:
            method: What was asked, such as ``trades.list``.
            message: What went wrong, for a person.
            code: Of JSON-RPC and of the bridge's protocol, such as -32602.
            kind: One word that is the same each time, such as ``BookStale``.
            retry: Whether asking again later may help.
        """
        super().__init__(f"{method}: {message}")
        self.method = method
        self.message = message
        self.code = code
        self.kind = kind
        self.retry = retry


class RequestTimedOut(RequestFailed):
    """No answer came in time. Whether it was done is not known."""

    CODE = -32001

    def __init__(self, method: str, timeout_s: float) -> None:
        """Say how long was waited, in seconds."""
        super().__init__(
            method, f"no answer within {timeout_s:g} s", code=self.CODE, kind="RequestTimedOut", retry=True
        )

"""What a request asks, read as strictly as Binance reads it.

Source: Binance Spot, "Error codes".
"""

import re
from collections.abc import Mapping

import msgspec

from binance_proxy.domain.printed import printed_unit_ns

_SYMBOL = re.compile(r"[A-Z0-9-_.]{1,20}")
_NUMBER = re.compile(r"[0-9]{1,20}")
UNKNOWN = (-1000, "An unknown error occurred while processing the request.")


class Refusal(Exception):
    """A request is not answered as it was asked."""

    def __init__(
        self, code: int, message: str, *, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        """Take Binance's code and sentence, and the status and headers of the answer."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.headers = dict(headers or {})


class Asked:
    """The parameters of one request, each read at most once."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self._query = query
        self._read: set[str] = set()

    def text(self, name: str) -> str | None:
        """Return a parameter, or `None` if it was not sent.

        Raises:
            Refusal: It is empty.
        """
        self._read.add(name)
        text = self._query.get(name)
        if text == "":
            raise Refusal(-1105, f"Parameter '{name}' was empty.")
        return text

    def mandatory(self, name: str) -> str:
        """Return a parameter that has to be sent. Raises `Refusal` if it was not."""
        text = self.text(name) if self._query.get(name) else None
        if text is None:
            raise Refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        return text

    def symbol(self) -> str:
        """Return the symbol that has to be sent. Raises `Refusal` if it cannot be one."""
        return _symbol("symbol", self.mandatory("symbol"))

    def symbols(self) -> list[str] | None:
        """Return ``symbol`` or ``symbols``, whichever was sent; `None` if neither was.

        Raises:
            Refusal: Both were sent, or one cannot be read.
        """
        one, several = self.text("symbol"), self.text("symbols")
        if one is not None and several is not None:
            raise Refusal(-1128, "Combination of optional parameters invalid.")
        if one is not None:
            return [_symbol("symbol", one)]
        if several is None:
            return None
        try:
            names = msgspec.json.decode(several, type=list[str])
        except msgspec.MsgspecError as error:
            raise Refusal(
                -1100,
                "Illegal characters found in parameter 'symbols'; legal range is"
                ' \'^\\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\\]$\'.',
            ) from error
        return [_symbol("symbols", name) for name in names]

    def number(self, name: str) -> int | None:
        """Return a whole number, or `None` if it was not sent. Raises `Refusal` if it is none."""
        text = self.text(name)
        if text is None:
            return None
        if not _NUMBER.fullmatch(text):
            raise Refusal(
                -1100,
                f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.",
            )
        return int(text)

    def limit(self, default: int, most: int) -> int:
        """Return how many are asked for; more than there can be are as many as there can be.

        Raises:
            Refusal: It is 0, or no number.
        """
        limit = self.number("limit")
        if limit == 0:
            raise Refusal(-1130, "Data sent for parameter 'limit' is not valid.")
        return default if limit is None else min(limit, most)

    def times(self) -> tuple[int | None, int | None]:
        """Return the first ns of ``startTime`` and the last of ``endTime``; `None` for one that was not sent.

        Either may be in ms or µs, told by its magnitude, whatever unit the answer is asked in.

        Raises:
            Refusal: One is no number.
        """
        start, end = self.number("startTime"), self.number("endTime")
        return _ns(start, last=False), _ns(end, last=True)

    def nothing_more(self) -> None:
        """Raise `Refusal` if a parameter was sent that nobody has read."""
        if len(self._query) > len(self._read & set(self._query)):
            raise Refusal(
                -1104,
                f"Not all sent parameters were read; read '{len(self._read & set(self._query))}' parameter(s)"
                f" but was sent '{len(self._query)}'.",
            )


def _symbol(name: str, text: str) -> str:
    if not _SYMBOL.fullmatch(text):
        raise Refusal(
            -1100,
            f"Illegal characters found in parameter '{name}'; legal range is '^[A-Z0-9-_.]{{1,20}}$'.",
        )
    return text


def _ns(time: int | None, *, last: bool) -> int | None:
    """Return the first or last ns of a time."""
    if time is None:
        return None
    unit_ns = printed_unit_ns(time)
    return min(time * unit_ns + (unit_ns - 1 if last else 0), 2**63 - 1)

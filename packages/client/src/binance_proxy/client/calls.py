"""Requests and answers as bytes: JSON-RPC 2.0 in MessagePack. No socket, no clock."""

from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from binance_proxy.client.errors import RequestFailed

Result = TypeVar("Result")

UNREADABLE = -32603

IDEMPOTENT = frozenset(
    {
        "pairs.list", "instruments.list", "instruments.get", "trades.list", "candles.list", "orderbook.get",
        "orderbook.depth", "stats.spread", "stats.vwap", "stats.slippage", "stats.liquidity", "gaps.list",
        "bridge.status", "topics.since", "rpc.discover",
    }
)  # fmt: skip
"""What may be asked again without doing anything twice."""


class Answer(Struct, frozen=True, kw_only=True):
    """What the bridge answered to one request."""

    method: str
    result: bytes
    """As MessagePack."""
    arrow: bytes | None = None
    """An Arrow IPC stream, if that was asked for and there is one."""

    def read(self, kind: type[Result]) -> Result:
        """Decode the result.

        Raises:
            RequestFailed: It is something else: the bridge is of another version.
        """
        try:
            return msgspec.msgpack.decode(self.result, type=kind)
        except (msgspec.MsgspecError, ValueError) as error:
            raise RequestFailed(
                self.method, f"the answer cannot be read: {error}", code=UNREADABLE, kind="Unreadable"
            ) from error


class _ErrorDetails(Struct):
    kind: str = ""
    retry: bool = False


class _Error(Struct):
    code: int
    message: str = ""
    data: _ErrorDetails = msgspec.field(default_factory=_ErrorDetails)


class _Reply(Struct):
    id: int | str | None = None
    result: Raw = Raw(b"\xc0")
    error: _Error | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Reply).decode


class Calls:
    """Numbers requests, and tells which request an answer belongs to; any number may be under way."""

    def __init__(self) -> None:
        self._number = 0
        self._methods: dict[int, str] = {}

    @property
    def under_way(self) -> int:
        """How many requests have no answer yet."""
        return len(self._methods)

    def begin(self, method: str, params: dict[str, Any]) -> tuple[int, bytes]:
        """Return the number of a new request, and what to send."""
        self._number += 1
        self._methods[self._number] = method
        body = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        return self._number, _encode(body)

    def forget(self, number: int) -> None:
        """Wait for the answer to this request no longer. Does nothing if there is no such request."""
        self._methods.pop(number, None)

    def take(self, frames: list[bytes]) -> tuple[int, Answer | RequestFailed] | None:
        """Return which request is answered, and how; `None` if it is none of ours or cannot be read."""
        frames = frames[1:] if frames and not frames[0] else frames
        try:
            reply = _decode(frames[0])
        except (IndexError, msgspec.MsgspecError, ValueError):
            return None
        if not isinstance(reply.id, int):
            return None
        method = self._methods.pop(reply.id, None)
        if method is None:
            return None
        error = reply.error
        if error is not None:
            details = error.data
            failed = RequestFailed(
                method, error.message, code=error.code, kind=details.kind, retry=details.retry
            )
            return reply.id, failed
        return reply.id, Answer(
            method=method, result=bytes(reply.result), arrow=frames[1] if len(frames) > 1 else None
        )


def notification(method: str, params: dict[str, Any]) -> bytes:
    """Return what to send for a request that is never answered."""
    return _encode({"jsonrpc": "2.0", "method": method, "params": params})

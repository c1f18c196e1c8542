"""Where the next page begins, as text that only this bridge understands."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2s
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from binance_proxy.application.serve.failures import WrongParams

VERSION = b"1"
_MARK = 8
"""Bytes that tell a broken cursor, and one of another question."""

_Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Place(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Behind which row a page begins."""

    ts: _Int64
    """``ts_event`` of the row; of a candle the end of its period."""
    id: _Int64 = 0
    """Of several rows with that time, up to which one; unused for candles."""
    stream: str = ""
    """Of several gaps with that time and id, likewise."""
    reached: tuple[_Int64, _Int64] | None = None
    """The highest trade id so far, and the latest time: by them a hole between two pages is found."""


_decoder = msgspec.msgpack.Decoder(Place)


def cursor_of(place: Place, question: bytes) -> str:
    """Return a place as text. ``question`` is what it belongs to."""
    packed = msgspec.msgpack.encode(place)
    return _text(_mark(packed, question) + packed)


def place_of(cursor: str, question: bytes) -> Place:
    """Return the place that a cursor stands for.

    Raises:
        WrongParams: It is broken, or belongs to another question.
    """
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        packed = raw[_MARK:]
        if raw[:_MARK] == _mark(packed, question) and _text(raw) == cursor:
            return _decoder.decode(packed)
    except (ValueError, msgspec.MsgspecError):
        pass
    raise WrongParams("cursor", "it is broken or belongs to another question: send `next` as it was answered")


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _mark(packed: bytes, question: bytes) -> bytes:
    return blake2s(VERSION + question + packed, digest_size=_MARK).digest()

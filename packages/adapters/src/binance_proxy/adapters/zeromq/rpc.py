"""JSON-RPC 2.0, in JSON and in MessagePack: requests in, results and errors out. No I/O.

Whatever a client sends, `read` returns a `Request` or the answer that says what is wrong with it; it never
raises. An answer is in the encoding of its request.
"""

from enum import Enum
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

LONGEST_ID = 255
"""Characters of an id, and of a method's name."""
_INT64, _UINT64 = -(2**63), 2**64
_LONGEST_MESSAGE = 500
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Id = str | int | None
Kind = TypeVar("Kind")

_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError, OverflowError, MemoryError)
"""What msgspec raises on bytes that are not what they should be; a `ValidationError` is one of them."""


class Encoding(Enum):
    """How a request is written, and so its answer."""

    JSON = "json"
    MSGPACK = "msgpack"

    def decode(self, body: bytes | Raw, kind: type[Kind]) -> Kind:
        """Return what the bytes say. Raises one of many errors; `Request.parse` makes one of them."""
        if self is Encoding.JSON:
            return msgspec.json.decode(body, type=kind)
        return msgspec.msgpack.decode(body, type=kind)

    def encode(self, body: object) -> bytes:
        """Write an object down."""
        return msgspec.json.encode(body) if self is Encoding.JSON else msgspec.msgpack.encode(body)


class Fault(Exception):
    """Why a request has no result. Raise it where answers are made; the client gets an error object."""

    def __init__(self, code: int, message: str, kind: str, *, retry: bool = False) -> None:
        """Say what is wrong.

        Args:
            code: As the protocol lists them.
            message: One sentence for a person.
            kind: One word for a program.
            retry: Whether the same request may have a result later.
        """
        super().__init__(message)
        self.code, self.message, self.kind, self.retry = code, message, kind, retry


def not_readable(why: str) -> Fault:
    """It is neither JSON nor MessagePack."""
    return Fault(-32700, why, "NotReadable")


def not_a_request(why: str) -> Fault:
    """It can be read, but asks for nothing."""
    return Fault(-32600, why, "NotARequest")


def no_such_method(method: str) -> Fault:
    """Nothing of that name can be asked for."""
    return Fault(-32601, f"there is no method {method!r}; rpc.discover lists those there are", "NoSuchMethod")


def wrong_params(why: str) -> Fault:
    """The parameters are not those of the method."""
    return Fault(-32602, why, "WrongParams")


def our_fault(why: str = "the bridge failed; its log says why") -> Fault:
    """Something that should not happen."""
    return Fault(-32603, why, "OurFault")


def deadline_passed(timeout_ms: int) -> Fault:
    """It took too long."""
    why = f"there was no answer within timeout_ms = {timeout_ms:,}; ask for less, or give it more time"
    return Fault(-32001, why, "DeadlinePassed", retry=True)


def too_many(queue: int) -> Fault:
    """The client asks faster than it is answered."""
    return Fault(
        -32002, f"too much of yours waits ({queue:,} requests may); ask again later", "TooMany", retry=True
    )


def away(why: str) -> Fault:
    """Something that is needed for an answer is not there for now."""
    return Fault(-32003, why, "Away", retry=True)


def too_large(why: str) -> Fault:
    """The answer would be."""
    return Fault(-32007, why, "TooLarge")


def workers_died() -> Fault:
    """Whoever worked on it died of it, perhaps."""
    return Fault(-32008, "two workers died while they worked on this request", "WorkersDied")


class Request(Struct, frozen=True, kw_only=True, gc=False):
    """One request, as far as everybody must know it."""

    id: Id | UnsetType
    """Unset for a notification: it is done and never answered."""
    method: str
    params: Raw
    """As they were sent, not looked at yet. Empty for none."""
    timeout_ms: int
    encoding: Encoding

    @property
    def wants_answer(self) -> bool:
        """Whether it is no notification."""
        return self.id is not UNSET

    def parse(self, kind: type[Kind]) -> Kind:
        """Return the params as an object of a type, such as a `Struct` with the fields of the method.

        Raises:
            Fault: They are something else. The message names the parameter and what was expected.
        """
        try:
            return self.encoding.decode(self.params, kind)
        except _UNREADABLE as error:
            raise wrong_params(_said(error)) from None

    def mapped(self) -> dict[str, Any]:
        """Return the params as a map.

        Raises:
            Fault: They cannot be read.
        """
        return self.parse(dict[str, Any])

    def result(self, result: object) -> bytes:
        """Write the answer down. A `Raw` result must be in the encoding of the request.

        Raises:
            OverflowError: A number does not fit into the encoding.
            UnicodeError: A text is none.
            TypeError: Something cannot be written down.
        """
        return self.encoding.encode({"jsonrpc": "2.0", "id": _shown(self.id), "result": result})

    def error(self, fault: Fault) -> bytes:
        """Write down why there is no result."""
        return _error(self.encoding, _shown(self.id), fault)


class _Envelope(Struct):
    jsonrpc: Literal["2.0"]
    method: str
    id: Id | UnsetType = UNSET
    params: Raw | UnsetType = UNSET


class _OnlyId(Struct):
    id: Id = None


class _Timed(Struct):
    timeout_ms: int | UnsetType = UNSET


_EMPTY = {Encoding.JSON: Raw(b"{}"), Encoding.MSGPACK: Raw(b"\x80")}
_NULL = {Encoding.JSON: b"null", Encoding.MSGPACK: b"\xc0"}
_envelope = {
    Encoding.JSON: msgspec.json.Decoder(_Envelope).decode,
    Encoding.MSGPACK: msgspec.msgpack.Decoder(_Envelope).decode,
}
_timed = {
    Encoding.JSON: msgspec.json.Decoder(_Timed).decode,
    Encoding.MSGPACK: msgspec.msgpack.Decoder(_Timed).decode,
}


def encoding_of(body: bytes) -> Encoding:
    """Tell by the first byte. MessagePack's maps and arrays begin above 127, JSON text does not."""
    if body[:1] < b"\x80" or body.startswith(_BYTE_ORDER_MARK):
        return Encoding.JSON
    return Encoding.MSGPACK


def read(body: bytes, timeout_ms: int, max_timeout_ms: int) -> Request | bytes | None:
    """Return what a client asks for, or the answer that says why it cannot be understood.

    `None` if there is something wrong with a notification: nobody waits to hear that.

    Args:
        body: Whatever it sent.
        timeout_ms: Of a request that says none.
        max_timeout_ms: The longest that it may say.
    """
    encoding = encoding_of(body)
    try:
        envelope = _envelope[encoding](body)
    except _UNREADABLE as error:
        return _not_understood(encoding, body, error)
    if not _id_fits(envelope.id):
        fault = not_a_request(f"an id is an integer of 64 bits, or text of at most {LONGEST_ID} characters")
        return _error(encoding, None, fault)
    try:
        return _request(encoding, envelope, timeout_ms, max_timeout_ms)
    except Fault as fault:
        return None if envelope.id is UNSET else _error(encoding, _shown(envelope.id), fault)


def _request(encoding: Encoding, envelope: _Envelope, timeout_ms: int, max_timeout_ms: int) -> Request:
    params = envelope.params
    if isinstance(params, UnsetType) or (head := bytes(memoryview(params)[:5])) == _NULL[encoding]:
        params = _EMPTY[encoding]
    elif not _is_map(encoding, head[:1]):
        raise wrong_params("params are a map: each has a name")
    if not _is_name(envelope.method):
        raise no_such_method(envelope.method[:LONGEST_ID])
    try:
        said = _timed[encoding](params).timeout_ms
    except _UNREADABLE as error:
        raise wrong_params(_said(error)) from None
    if not isinstance(said, UnsetType):
        if not 0 < said <= max_timeout_ms:
            raise wrong_params(f"timeout_ms: expected 1 to {max_timeout_ms}, got {_number(said)}")
        timeout_ms = said
    return Request(
        id=envelope.id, method=envelope.method, params=params, timeout_ms=timeout_ms, encoding=encoding
    )


def _is_map(encoding: Encoding, first: bytes) -> bool:
    if encoding is Encoding.JSON:
        return first == b"{"
    return b"\x80" <= first <= b"\x8f" or first in {b"\xde", b"\xdf"}


def _is_name(method: str) -> bool:
    return 0 < len(method) <= LONGEST_ID and method.isascii() and method.isprintable()


def _not_understood(encoding: Encoding, body: bytes, error: Exception) -> bytes:
    """Say what is wrong with something that is not a request, with its id if it has one."""
    if isinstance(error, msgspec.ValidationError):
        try:
            encoding.decode(body, Raw)  # what is of the wrong type may be broken further on
            fault = not_a_request(f"this is not a JSON-RPC 2.0 request: {_said(error)}")
            try:
                found = encoding.decode(body, _OnlyId).id
            except _UNREADABLE:
                found = None
            return _error(encoding, found if _id_fits(found) else None, fault)
        except _UNREADABLE as broken:
            error = broken
    return _error(encoding, None, not_readable(f"this is neither JSON nor MessagePack: {_said(error)}"))


def _id_fits(found: Id | UnsetType) -> bool:
    """Say whether an id can be sent back in any encoding."""
    if isinstance(found, int):
        return _INT64 <= found < _UINT64
    if isinstance(found, str):
        return len(found) <= LONGEST_ID and not any("\ud800" <= one <= "\udfff" for one in found)
    return True


def _shown(found: Id | UnsetType) -> Id:
    return None if isinstance(found, UnsetType) else found


def _number(number: int) -> str:
    """Return a number as text; Python refuses to print the very long ones."""
    return str(number) if _INT64 <= number < _UINT64 else "one that is far beyond"


def _said(error: BaseException) -> str:
    """Return an error's text without what could not be sent on."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error)[:_LONGEST_MESSAGE]


def _error(encoding: Encoding, id_: Id, fault: Fault) -> bytes:
    message = fault.message[:_LONGEST_MESSAGE].encode(errors="replace").decode()
    data = {"kind": fault.kind, "retry": fault.retry}
    error = {"code": fault.code, "message": message, "data": data}
    return encoding.encode({"jsonrpc": "2.0", "id": id_, "error": error})

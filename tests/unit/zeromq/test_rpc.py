import json
import string

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_proxy.adapters.zeromq import rpc
from binance_proxy.adapters.zeromq.rpc import Encoding, Fault, Request

ENCODERS = {Encoding.JSON: msgspec.json.encode, Encoding.MSGPACK: msgspec.msgpack.encode}
DECODERS = {Encoding.JSON: msgspec.json.decode, Encoding.MSGPACK: msgspec.msgpack.decode}
BOTH = pytest.mark.parametrize("encoding", list(Encoding))
CALL = {"jsonrpc": "2.0", "id": 7, "method": "trades.list", "params": {"limit": 5}}
LEAF = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
ANYTHING = st.recursive(LEAF, lambda one: st.lists(one) | st.dictionaries(st.text(), one), max_leaves=8)


class Params(msgspec.Struct):
    symbol: str = ""
    limit: int = 0


def read(body: bytes) -> Request | bytes | None:
    return rpc.read(body, timeout_ms=10_000, max_timeout_ms=60_000)


def asked(encoding: Encoding, **changed: object) -> Request:
    found = read(ENCODERS[encoding](CALL | changed))
    assert isinstance(found, Request)
    return found


def refused(body: bytes) -> tuple[int, object, str]:
    """Return code, id and message of an error, in JSON or MessagePack as the body is."""
    found = read(body)
    assert isinstance(found, bytes)
    answer = DECODERS[rpc.encoding_of(body)](found)
    assert answer.keys() == {"jsonrpc", "id", "error"}
    assert answer["error"].keys() == {"code", "message", "data"}
    assert answer["error"]["data"].keys() == {"kind", "retry"}
    return answer["error"]["code"], answer["id"], answer["error"]["message"]


def without(field: str) -> dict[str, object]:
    return {name: value for name, value in CALL.items() if name != field}


# Requests


@BOTH
def test_a_request_is_read_in_both_encodings(encoding):
    request = asked(encoding)
    assert (request.id, request.method, request.timeout_ms) == (7, "trades.list", 10_000)
    assert request.encoding is encoding
    assert request.mapped() == {"limit": 5}
    assert request.wants_answer


def test_json_may_begin_with_whitespace():
    assert isinstance(read(b" \n\t" + json.dumps(CALL).encode()), Request)


@BOTH
@pytest.mark.parametrize(
    "one", [7, -(2**63), 2**64 - 1, "", "a-7", "\N{GREEK SMALL LETTER ALPHA}" * 255, None]
)
def test_an_id_comes_back_as_it_was(encoding, one):
    request = asked(encoding, id=one)
    assert DECODERS[encoding](request.result({"a": 1})) == {"jsonrpc": "2.0", "id": one, "result": {"a": 1}}
    assert DECODERS[encoding](request.error(rpc.our_fault()))["id"] == one


@BOTH
def test_a_request_without_an_id_is_a_notification(encoding):
    found = read(ENCODERS[encoding](without("id")))
    assert isinstance(found, Request)
    assert not found.wants_answer


@BOTH
def test_null_is_an_id(encoding):
    assert asked(encoding, id=None).wants_answer


@BOTH
def test_params_may_be_left_out_or_null(encoding):
    found = read(ENCODERS[encoding](without("params")))
    assert isinstance(found, Request)
    assert found.mapped() == {}
    assert asked(encoding, params=None).mapped() == {}


@BOTH
def test_a_request_says_how_long_it_waits(encoding):
    assert asked(encoding, params={"timeout_ms": 60_000}).timeout_ms == 60_000


@BOTH
def test_params_are_parsed_into_a_type(encoding):
    assert asked(encoding, params={"symbol": "ETH/USDT", "timeout_ms": 5}).parse(Params) == Params("ETH/USDT")


@BOTH
def test_params_of_another_type_are_named(encoding):
    with pytest.raises(Fault, match=r"Expected `int`, got `str` - at `\$.limit`") as caught:
        asked(encoding, params={"limit": "many"}).parse(Params)
    assert caught.value.code == -32602


def test_a_result_that_is_encoded_already_is_put_in_as_it_is():
    answer = asked(Encoding.JSON).result(msgspec.Raw(b'{"rows": []}'))
    assert answer == b'{"jsonrpc":"2.0","id":7,"result":{"rows": []}}'


# What is wrong


@pytest.mark.parametrize(
    "body",
    [
        b"", b"x", b"{", b'{"id": 7', b"null,", b'{"jsonrpc":"2.0","id":7,"method":"a","params":{"a":NaN}}',
        b'{"jsonrpc":"2.0","id":7,"method":"a"} and more', b'{"id":7,"method":"\xff"}', b"\xef\xbb\xbf{}",
        b'{"jsonrpc":"2.0","id":7,"method":"\\ud800"}', b"\x80\x80", b"\x81\xa1", b"\xc1",
        b"\xdd\xff\xff\xff\xff", b'{"method": 5, ',
        b"\xdf\xff\xff\xff\xff", b"\x81\xa6params\xdd\xff\xff\xff\xff", b"\x81\xa6method\xa1\xff",
        b'{"jsonrpc":"2.0","id":7,"method":"a","params":' + b"[" * 100_000,
        b'{"jsonrpc":"2.0","id":7,"method":"a","params":' + b'{"a":' * 100_000,
        b"\x81\xa6params" + b"\x91" * 100_000 + b"\xc0",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_without_an_id(body):
    assert refused(body)[:2] == (-32700, None)


@pytest.mark.parametrize(
    "body", [b"[]", b"7", b'"text"', b"null", b"{}", b"[" + json.dumps(CALL).encode() + b"]"]
)
def test_json_that_is_not_a_request_is_refused(body):
    assert refused(body)[:2] == (-32600, None)


@pytest.mark.parametrize("body", [b"\x80", b"\x90", b"\xc0", b"\xd4\x05\x01", b"\x81\x01\x02"])
def test_messagepack_that_is_not_a_request_is_refused(body):
    assert refused(body)[:2] == (-32600, None)


@BOTH
@pytest.mark.parametrize("field", ["jsonrpc", "method"])
def test_a_field_that_is_missing_is_named(encoding, field):
    code, one, message = refused(ENCODERS[encoding](without(field)))
    assert (code, one) == (-32600, 7)
    assert f"`{field}`" in message


@BOTH
@pytest.mark.parametrize(
    ("field", "value"), [("jsonrpc", "1.0"), ("jsonrpc", 2.0), ("method", 5), ("method", None)]
)
def test_a_field_of_another_type_is_named_and_the_id_comes_back(encoding, field, value):
    code, one, message = refused(ENCODERS[encoding](CALL | {field: value}))
    assert (code, one) == (-32600, 7)
    assert f"$.{field}" in message


@BOTH
@pytest.mark.parametrize("one", [1.5, True, [], {}, "a" * 256])
def test_what_is_no_id_is_refused(encoding, one):
    assert refused(ENCODERS[encoding](CALL | {"id": one}))[:2] == (-32600, None)


@pytest.mark.parametrize("digits", [20, 400, 5_000])
def test_a_huge_id_is_refused(digits):
    body = b'{"jsonrpc":"2.0","method":"a","id":' + b"9" * digits + b"}"
    assert refused(body)[:2] == (-32600, None)


@BOTH
@pytest.mark.parametrize("params", [[1, 2], "text", 7, True])
def test_params_have_names(encoding, params):
    assert refused(ENCODERS[encoding](CALL | {"params": params}))[:2] == (-32602, 7)


@BOTH
@pytest.mark.parametrize("timeout_ms", [0, -1, 60_001, "5", 1.5, None, True])
def test_a_timeout_is_a_number_of_ms_within_bounds(encoding, timeout_ms):
    code, one, message = refused(ENCODERS[encoding](CALL | {"params": {"timeout_ms": timeout_ms}}))
    assert (code, one) == (-32602, 7)
    assert "timeout_ms" in message


@pytest.mark.parametrize("digits", [20, 400, 5_000])
def test_a_huge_timeout_is_refused(digits):
    body = b'{"jsonrpc":"2.0","id":7,"method":"a","params":{"timeout_ms":' + b"9" * digits + b"}}"
    assert refused(body)[:2] == (-32602, 7)


@pytest.mark.parametrize("method", ["", "\N{GREEK SMALL LETTER ALPHA}", "a\nb", "a" * 256])
def test_a_method_has_a_plain_name(method):
    assert refused(json.dumps(CALL | {"method": method}).encode())[:2] == (-32601, 7)


def test_a_notification_that_is_wrong_is_met_with_silence():
    assert read(json.dumps(without("id") | {"params": [1]}).encode()) is None


def test_of_a_name_that_comes_twice_the_last_counts():
    found = read(b'{"jsonrpc":"2.0","id":1,"id":2,"method":"a","method":"b"}')
    assert isinstance(found, Request)
    assert (found.id, found.method) == (2, "b")


def test_what_is_wrong_deep_in_the_params_is_found_when_they_are_parsed():
    found = read(b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"symbol":"\xff"}}')
    assert isinstance(found, Request)
    with pytest.raises(Fault) as caught:
        found.mapped()
    assert caught.value.code == -32602


def test_a_message_with_half_a_character_can_be_sent():
    answer = asked(Encoding.JSON).error(rpc.wrong_params("no symbol '\ud800'"))
    assert "no symbol '?'" in json.loads(answer)["error"]["message"]


# Anything


@given(st.binary())
def test_any_bytes_are_a_request_or_get_an_error_object(body):
    if not isinstance(read(body), Request):
        refused(body)


@given(ANYTHING, st.sampled_from(Encoding))
def test_anything_is_a_request_or_gets_an_error_object(body, encoding):
    encoded = ENCODERS[encoding](body)
    if not isinstance(read(encoded), Request):
        refused(encoded)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(CALL, ANYTHING)), st.sampled_from(Encoding))
def test_a_request_with_anything_in_it_is_one_or_gets_an_error_object_or_is_a_notification(changed, encoding):
    encoded = ENCODERS[encoding](CALL | changed)
    found = read(encoded)
    if isinstance(found, Request):
        with_result = DECODERS[encoding](found.result({}))
        assert with_result["id"] == DECODERS[encoding](encoded)["id"]
        try:
            found.mapped()
        except Fault as fault:
            assert fault.code == -32602  # noqa: PT017 - most have nothing wrong with them
    elif found is not None:
        refused(encoded)


@given(st.data(), st.sampled_from(Encoding))
def test_a_damaged_request_is_one_or_gets_an_error_object(data, encoding):
    body = bytearray(ENCODERS[encoding](CALL))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    found = read(bytes(body))
    if isinstance(found, Request):
        found.error(rpc.our_fault())
    elif found is not None:
        refused(bytes(body))


def test_text_is_told_from_messagepack_by_its_first_byte():
    for first in string.printable:
        assert rpc.encoding_of(first.encode()) is Encoding.JSON
    for first in range(0x80, 0x100):
        assert rpc.encoding_of(bytes([first])) is Encoding.MSGPACK

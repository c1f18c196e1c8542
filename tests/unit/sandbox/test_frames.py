"""WebSocket frames: what goes in comes out, at every length of the header."""

import pytest

from binance_proxy.sandbox.frames import payload_of, ping_frame, pong_frame, text_frame


@pytest.mark.parametrize("length", [1, 125, 126, 127, 65_535, 65_536, 100_000])
def test_a_frame_has_its_message_behind_its_length(length):
    payload = b"x" * length
    frame = text_frame(payload)
    assert frame[0] == 0x81
    assert frame.endswith(payload)
    assert payload_of(frame) == payload


def test_pings_and_pongs():
    assert ping_frame(b"now") == b"\x89\x03now"
    assert pong_frame(b"now") == b"\x8a\x03now"

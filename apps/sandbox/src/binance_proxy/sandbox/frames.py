"""WebSocket frames as a server writes them: whole messages, unmasked, uncompressed.

They are built here, because one frame goes to many readers and many frames go into one write.

Source: RFC 6455, "Base Framing Protocol".
"""

_TEXT, _PING, _PONG = 0x81, 0x89, 0x8A


def text_frame(payload: bytes) -> bytes:
    """Return the frame of a text message."""
    length = len(payload)
    if length < 126:
        return bytes((_TEXT, length)) + payload
    if length < 65_536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload


def payload_of(frame: bytes) -> bytes:
    """Return the message in a frame that `text_frame` made."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


def ping_frame(payload: bytes) -> bytes:
    """Return a ping; its payload has at most 125 bytes."""
    return bytes((_PING, len(payload))) + payload


def pong_frame(payload: bytes) -> bytes:
    """Return the answer to a ping."""
    return bytes((_PONG, len(payload))) + payload

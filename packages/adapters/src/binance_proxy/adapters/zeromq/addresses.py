"""Addresses that cannot be had."""

import zmq


def why_not(error: zmq.ZMQError, otherwise: str) -> str:
    """Say why a socket could not be bound, and what sets another address if this one is in use."""
    if error.errno == zmq.EADDRINUSE:
        return f"it is in use, by another bridge perhaps; {otherwise}"
    return error.strerror or str(error)

"""Listening to what a bridge publishes as JSON."""

from collections.abc import Iterator
from contextlib import contextmanager

import zmq
import zmq.asyncio

from binance_proxy.adapters.zeromq.publisher import STATUS
from binance_proxy.domain.errors import ConfigError

QUEUE = 10_000
"""Messages that may wait for us; what is older than that is not worth catching up with."""
ANSWER_S = 5.0
"""How long a bridge may take to say how it is; it does so once a second."""


@contextmanager
def listening(address: str) -> Iterator[zmq.asyncio.Socket]:
    """Yield a socket that is connected, and subscribed to how the bridge is.

    Raises:
        ConfigError: The address is none.
    """
    with zmq.asyncio.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.RCVHWM, QUEUE)
        socket.setsockopt(zmq.LINGER, 0)
        try:
            socket.connect(address)
        except zmq.ZMQError as error:
            raise ConfigError(f"{address!r} is not an address such as tcp://127.0.0.1:5555") from error
        socket.subscribe(STATUS)
        yield socket


def no_answer(address: str) -> str:
    """Say that nothing was heard."""
    return f"no bridge answers on {address}; start one with `bridge run`, or name another address"


def unreadable(address: str) -> str:
    """Say that what was heard is not JSON."""
    return f"what is published on {address} cannot be read; take the JSON endpoint (publish.json.bind)"

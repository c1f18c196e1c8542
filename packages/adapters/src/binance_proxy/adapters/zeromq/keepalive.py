"""How a connection is found to be dead on which nothing is said: the kernel asks, and ZeroMQ does not.

libzmq 4.3.5 aborts the whole process (``Assertion failed: !_io_error``) when it is to send a heartbeat on a
connection that has been reset while its messages wait to be read. So no socket here has ``HEARTBEAT_IVL``.
A client's own heartbeat has to be answered, which ends the same way. What cannot be killed by that is a
socket that never stops to read, one without a high water for what comes in.
"""

from typing import Any

import zmq

IDLE_S, PROBE_S, PROBES = 15, 15, 3
"""A connection that was quiet for so long is asked, so often, so many times, until it counts as dead."""


def keep_alive(socket: "zmq.Socket[Any]") -> None:
    """Have dead connections found within a minute, on a socket that is not bound yet."""
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, IDLE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, PROBE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, PROBES)

"""How requests are answered."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServeSettings:
    """``serve``: requests from clients, and the processes that answer them."""

    bind: str = "tcp://127.0.0.1:5557"
    """Where requests are taken; empty to take none."""
    workers: int = 2
    """Processes that answer. A store in memory has none: there the bridge itself answers."""
    at_once: int = 4
    """Requests that one of them answers at the same time."""
    queue: int = 1_000
    """Requests of one client that may wait; one more is refused at once."""
    timeout_ms: int = 10_000
    """Within so many ms a request is answered or has failed, unless it says another ``timeout_ms``."""
    max_timeout_ms: int = 60_000
    """The longest ``timeout_ms`` that a request may say."""
    recall: int = 10_000
    """The newest messages of each topic that are kept for those who missed some."""
    insecure: bool = False
    """Allow an address beyond this machine, for anyone to ask."""

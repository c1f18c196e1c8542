"""Asking an exchange again while it is away."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import backoff

from binance_proxy.application.ports import FeedUnavailable

Asked = TypeVar("Asked", bound=Callable[..., Awaitable[Any]])


def patient(
    ask: Asked, longest_pause_s: float, told: Callable[[FeedUnavailable], None] | None = None
) -> Asked:
    """Return a call that is repeated, with growing pauses of full jitter, until the exchange is there.

    ``told`` hears of each attempt in vain.
    """
    return backoff.on_exception(
        backoff.expo,
        FeedUnavailable,
        max_value=longest_pause_s,
        base=2,
        factor=0.1,
        jitter=backoff.full_jitter,
        on_backoff=None if told is None else lambda details: told(details["exception"]),
        logger=None,
    )(ask)

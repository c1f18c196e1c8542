"""Moments as people read them."""

from datetime import UTC, datetime

from binance_proxy.domain.candle import SECOND_NS


def utc(ts: int, *, parts: str = "milliseconds") -> str:
    """Write a time in ns as ``2024-08-08 23:55:00.123``."""
    at = datetime.fromtimestamp(ts // SECOND_NS, UTC).replace(microsecond=ts % SECOND_NS // 1000)
    return at.replace(tzinfo=None).isoformat(sep=" ", timespec=parts)

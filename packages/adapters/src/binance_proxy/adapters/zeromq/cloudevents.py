"""Bodies as CloudEvents, for consumers that route by that standard.

Source: CloudEvents 1.0.2, "Context Attributes", and the JSON event format.
"""

from datetime import UTC, datetime

from msgspec import UNSET, Struct, UnsetType

from binance_proxy.adapters.zeromq.bodies import (
    Body,
    CandleBody,
    GapBody,
    QuoteBody,
    SnapshotBody,
    StaleBody,
    TradeBody,
    json_of,
)
from binance_proxy.domain.candle import SECOND_NS


class CloudEvent(Struct, gc=False, kw_only=True):
    """One body in its envelope. Source and id together name an event, however often it is sent."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    time: str | UnsetType = UNSET
    datacontenttype: str = "application/json"
    data: object


def cloud_event_json(body: object) -> bytes:
    """Encode a body of the wire as a CloudEvent in JSON."""
    if isinstance(body, Body):
        stream, key = _identity(body)
        return json_of(
            CloudEvent(
                id=key,
                source=f"/{body.venue}/{body.market}/{body.symbol.replace('/', '').lower()}/{stream}",
                type=f"binance-proxy.{type(body).__struct_config__.tag}",
                time=_time(body.ts_event),
                data=body,
            )
        )
    if not isinstance(body, dict):
        raise TypeError(f"{type(body).__name__} is no body of the wire")
    own = f"{body['epoch']}-{body['sequence']}"
    return json_of(CloudEvent(id=own, source="/bridge", type=f"binance-proxy.{body['type']}", data=body))


def _identity(body: Body) -> tuple[str, str]:
    """Return the stream of a body, and its key in the store: the same event has the same key in every run."""
    if isinstance(body, TradeBody):
        return "trades", f"{body.ts_event}-{body.trade_id}"
    if isinstance(body, QuoteBody):
        return "orderbook", f"{body.ts_event}-{body.last_update_id}"
    if isinstance(body, SnapshotBody):
        return "orderbook", f"{body.ts_event}-{body.last_update_id}-snapshot"
    if isinstance(body, CandleBody):  # the same candle is sent again as it grows, and when it is proven
        state = "complete" if body.complete else "closed" if body.closed else "open"
        return f"candles/{body.timeframe}", f"{body.start}-{body.trades}-{body.volume}-{state}"
    if isinstance(body, GapBody):
        return "gaps", f"{body.stream}-{body.first_id}-{body.last_id}-{body.state}"
    if isinstance(body, StaleBody):
        return "orderbook", f"{body.ts_recv}-stale"
    raise TypeError(f"{type(body).__name__} has no key")


def _time(ts: int) -> str:
    at = datetime.fromtimestamp(ts // SECOND_NS, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{at}.{ts % SECOND_NS:09}Z"

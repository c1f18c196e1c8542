"""How the bridge is, and what somebody missed of its topics."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from binance_proxy.application.ends import END_OF_TIME
from binance_proxy.application.ports import RECALLED
from binance_proxy.application.serve.asked import Asked
from binance_proxy.application.serve.sources import Sources

PROTOCOL = "1"
"""Version of the protocol that requests are made in."""


class AskedStatus(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Get how the bridge is, with the fields of the topic `bridge.status`."""


class AskedSince(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Get what was published on a topic behind a sequence."""

    topic: Annotated[
        str, Meta(min_length=1, max_length=200, description="Such as binance.spot.ethusdt.trades")
    ]
    epoch: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=100,
            description="Of the last message that came; any other text to be told where the topic is now",
        ),
    ]
    sequence: Annotated[int, Meta(ge=0, le=END_OF_TIME, description="Likewise; 0 if none of that epoch came")]


class Since(Struct, frozen=True, kw_only=True):
    """What was published since."""

    epoch: Annotated[str, Meta(description="Of the bridge that runs now")]
    sequence: Annotated[int, Meta(description="Of the newest message of the topic; 0 if there was none")]
    messages: Annotated[
        list[dict[str, Any]] | None,
        Meta(description="The bodies as published, oldest first, 1,000 at most; null if you must start over"),
    ]
    more: Annotated[bool, Meta(description="Whether there are further ones: ask again behind the last")]


async def get_status(sources: Sources, asked: AskedStatus, deadline: int) -> dict[str, object]:
    """Answer ``bridge.status``."""
    return {"type": "status", "protocol": PROTOCOL, **await sources.live.status()}


async def get_since(sources: Sources, asked: AskedSince, deadline: int) -> Since:
    """Answer ``topics.since``."""
    found = await sources.live.since(asked.topic, asked.epoch, asked.sequence)
    messages = None if found.messages is None else list(found.messages)
    reached = asked.sequence
    if messages:
        last = messages[-1].get("sequence")
        reached = last if isinstance(last, int) else found.sequence
    more = messages is not None and len(messages) >= RECALLED and reached < found.sequence
    return Since(epoch=found.epoch, sequence=found.sequence, messages=messages, more=more)

"""How commands reach a running bridge: by the client library, with its errors as ours."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from binance_proxy.bridge.config import Config
from binance_proxy.client import Bridge, BridgeAway, ClientError, WrongAddress
from binance_proxy.domain.errors import BridgeError, ConfigError

ANSWER_S = 5.0
"""How long a bridge may take to say how it is; it does so once a second."""
SILENCE_S = 5.0
"""After so long without a word it counts as gone."""


class NoAnswer(BridgeError):
    """No bridge answers at the address, or it says no. The message says what to do."""


@dataclass(frozen=True)
class Place:
    """Where a running bridge is; an empty address is not used."""

    publish: str = ""
    requests: str = ""
    control: str = ""

    @classmethod
    def of(cls, config: Config) -> "Place":
        """Return where a bridge with these settings is."""
        return cls(config.publish.json.bind, config.serve.bind, config.control.bind)

    def __str__(self) -> str:
        return self.publish or self.requests or self.control


@asynccontextmanager
async def reached(place: Place) -> AsyncIterator[Bridge]:
    """Yield a connection to a running bridge. What fails inside of the block is told by our errors too.

    Raises:
        NoAnswer: No bridge answers there, or it refuses.
        ConfigError: An address is none.
    """
    try:
        async with Bridge(
            publish=place.publish,
            requests=place.requests,
            control=place.control,
            name=f"bridge watch {os.getpid()}",
            timeout_s=ANSWER_S,
            silence_s=SILENCE_S,
        ) as bridge:
            yield bridge
    except WrongAddress as error:
        raise ConfigError(str(error)) from error
    except BridgeAway as error:
        raise NoAnswer(no_answer(str(place))) from error
    except ClientError as error:
        raise NoAnswer(str(error)) from error


def no_answer(address: str) -> str:
    """Say that nothing was heard."""
    return f"no bridge answers on {address}; start one with `bridge run`, or name another address"

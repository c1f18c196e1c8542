"""What can be set about the way through ccxt."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from binance_proxy.domain.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Ccxt:
    """``feed.ccxt``: which exchange, and where it is."""

    exchange: str = "binance"
    """As ccxt writes it: ``binance``, ``binanceus``, ``kraken``."""
    rest_url: str = ""
    """Where REST requests go, such as https://data-api.binance.vision; empty: where ccxt sends them.

    For exchanges that talk like Binance only.
    """
    stream_url: str = ""
    """Where streams come from, such as wss://data-stream.binance.vision; empty: where ccxt looks for them.

    For exchanges that talk like Binance only.
    """
    api_key: str = ""
    """Sent along if there is one. Market data need none."""
    secret: str = ""
    """Handed to ccxt beside the key; nothing that the bridge asks is signed."""
    timeout_s: float = 10.0
    """How long a connection may take to open, and a request to be answered."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for an address that is none, or a time that nothing can take."""
        for name, url, schemes in (
            ("rest_url", self.rest_url, ("http", "https")),
            ("stream_url", self.stream_url, ("ws", "wss")),
        ):
            if url and not _is_address(url, schemes):
                raise ConfigError(
                    f"{name} = {url!r} is not an address such as {schemes[1]}://example.com:443"
                )
        if not 0.001 <= self.timeout_s <= 3_600:
            raise ConfigError(f"timeout_s = {self.timeout_s} is not from 0.001 to 3600")


def _is_address(url: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and " " not in url
    except ValueError:
        return False

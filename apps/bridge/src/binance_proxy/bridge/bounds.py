"""What a setting may be, beyond its type. Every complaint names the key."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from binance_proxy.bridge.config import Config
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.errors import ConfigError

ADDRESSES = {
    "feed.binance.rest_url": ("https://", "http://"),
    "feed.binance.stream_url": ("wss://", "ws://"),
    "feed.ccxt.rest_url": ("https://", "http://"),
    "feed.ccxt.stream_url": ("wss://", "ws://"),
}
"""Where a venue is: how it may begin. Empty is allowed where the way itself knows."""
DAY_S = 86_400
YEAR_S = 365 * DAY_S
BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("feed.binance.timeout_s", 0.1, 3_600),
    ("feed.care.silence_s", 0.1, 3_600),
    ("feed.care.quiet_s", 0.1, DAY_S),
    ("feed.care.rotate_s", 0.1, DAY_S),
    ("feed.care.settle_s", 0, 3_600),
    ("feed.care.agree_s", 0, 3_600),
    ("feed.care.longest_pause_s", 0, 3_600),
    ("feed.care.snapshot_levels", 1, 5_000),
    ("feed.care.weight_share", 0.01, 1),
    ("feed.care.inbox", 1_000, 100_000_000),
    ("repair.limit", 0, 10**12),
    ("repair.patience_s", 0, 3_600),
    ("repair.attempts", 1, 1_000),
    ("repair.longest_pause_s", 0, DAY_S),
    ("repair.compare_s", 0.001, DAY_S),
    ("store.timescale.upkeep.keep_trades_days", 0, 36_500),
    ("store.timescale.upkeep.keep_books_days", 0, 36_500),
    ("store.timescale.upkeep.columnstore_days", 0, 36_500),
    ("store.timescale.upkeep.partitions_ahead", 0, 366),
    ("store.timescale.upkeep.pause_s", 0.01, 3_600),
    ("serve.workers", 1, 64),
    ("serve.at_once", 1, 64),
    ("serve.queue", 1, 1_000_000),
    ("serve.timeout_ms", 1, 3_600_000),
    ("serve.max_timeout_ms", 1, 3_600_000),
    ("serve.recall", 0, 10_000_000),
    ("cache.limit_bytes", 8 * 1024**2, 2**50),
    ("cache.ttl_s", 0, DAY_S),
    ("cache.past_ttl_s", 0, YEAR_S),
    ("cache.patience_s", 0.01, 60),
    ("cache.lease_s", 0.1, 3_600),
    ("spool.patience_s", 0.01, DAY_S),
    ("spool.limit_bytes", 0, 2**50),
    ("spool.longest_pause_s", 0, 3_600),
    ("record.candle_interval_s", 0.001, DAY_S),
    ("record.snapshot_interval_s", 0.001, YEAR_S),
    ("record.buffer", 1, 1_000_000_000),
    ("record.batch", 1, 10_000_000),
    ("record.batch_least", 1, 10_000_000),
    ("record.batch_target_s", 0.001, 3_600),
    ("record.batch_age_s", 0, 3_600),
    ("record.writers", 1, 8),
    ("record.flush_timeout_s", 0, DAY_S),
    ("publish.snapshot_interval_s", 0.001, YEAR_S),
    ("publish.high_water", 1, 2**31 - 1),
    ("publish.linger_s", 0, DAY_S),
    ("sandbox.port", 0, 65_535),
    ("sandbox.hold_s", 0, DAY_S),
    ("sandbox.history", 1, 100_000_000),
    ("sandbox.weight_limit", 1, 1_000_000_000),
    ("sandbox.weight_window_s", 0.001, DAY_S),
    ("sandbox.patience", 0, 1_000_000_000),
    ("sandbox.ban_s", 0.001, YEAR_S),
    ("sandbox.ping_s", 0.001, DAY_S),
    ("sandbox.pong_s", 0.001, DAY_S),
    ("sandbox.messages_per_second", 1, 1_000_000),
    ("sandbox.streams_per_connection", 1, 1_000_000),
    ("sandbox.connection_attempts", 1, 1_000_000_000),
    ("sandbox.connection_window_s", 0.001, DAY_S),
    ("sandbox.lifetime_s", 0.001, YEAR_S),
    ("sandbox.shutdown_notice_s", 0, DAY_S),
    ("sandbox.outbox", 1_000, 1_000_000_000),
)
"""Numbers: key, least and most, both allowed. What `Simulation` holds it checks itself."""


def values_of(section: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield every key of a section and what is below it, with its value."""
    for field in dataclasses.fields(section):  # type: ignore[arg-type]  # a dataclass, as all sections are
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            yield from values_of(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value


def check(config: Config) -> None:
    """Raise `ConfigError` for values that are of the right type and still cannot be."""
    speed_of(config.feed.capture.speed)
    _check_timeframes(config.record.timeframes)
    values: dict[str, Any] = dict(values_of(config))
    for key, least, most in BOUNDS:
        if not least <= values[key] <= most:  # nan lies nowhere
            raise ConfigError(f"{key} = {values[key]} is not from {least} to {most}")
    for key, beginnings in ADDRESSES.items():
        _check_venue_address(key, str(values[key]), beginnings)
    _check_one_venue(values)
    _check_binds(config)
    if config.store.timescale.url != "embedded":
        _check_url("store.timescale.url", config.store.timescale.url)
    if config.cache.url != "embedded":
        _check_cache_url(config.cache.url)
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,64}", config.cache.namespace):
        raise ConfigError(
            f"cache.namespace = {config.cache.namespace!r} is not up to 64 letters, digits, dots, - and _"
        )
    if re.match(r"[a-z][a-z0-9+.-]+:/?(?!/)", config.archive.url):  # a folder of that name is hardly meant
        raise ConfigError(
            f"archive.url = {config.archive.url!r} is neither a folder nor a URL as s3://bucket"
        )


def _check_timeframes(names: Sequence[str]) -> None:
    for name in names:
        try:
            Timeframe(name)
        except ConfigError as error:
            raise ConfigError(f"record.timeframes: {error}") from error
        if names.count(name) > 1:
            raise ConfigError(f"record.timeframes = {list(names)} names {name!r} more than once")


def _check_url(key: str, url: str) -> None:
    """Raise `ConfigError` for what is no address of a PostgreSQL; its password is not shown."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise ConfigError(f"{key} must be 'embedded' or begin with postgresql://")
    try:
        urlsplit(url).port  # noqa: B018  reading it checks it
    except ValueError:
        raise ConfigError(
            f"{key} is not postgresql://user:password@host:port/database; a password's own @ : / ? # [ ] are"
            " written %40 %3A %2F %3F %23 %5B %5D"
        ) from None


def _check_cache_url(url: str) -> None:
    """Raise `ConfigError` for what is no address of a Valkey; its password is not shown."""
    said = "cache.url is neither 'embedded' nor valkey://user:password@host:port/0 nor unix:///path/of/socket"
    if not url.startswith(("valkey://", "valkeys://", "redis://", "rediss://", "unix://")):
        raise ConfigError(said)
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  reading it checks it
    except ValueError:
        raise ConfigError(f"{said}; a password's own @ : / ? # [ ] are percent-encoded") from None
    here = parts.path if parts.scheme == "unix" else parts.hostname
    if not here or (parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path)):
        raise ConfigError(said)


def _check_venue_address(key: str, url: str, beginnings: tuple[str, ...]) -> None:
    """Raise `ConfigError` for what cannot be the host of a venue."""
    if not url and key.startswith("feed.ccxt."):
        return
    parts = urlsplit(url)
    if not (url.startswith(beginnings) and parts.hostname) or parts.path or parts.query:
        raise ConfigError(f"{key} = {url!r} is not an address such as {beginnings[0]}host, without a path")


def _check_one_venue(values: Mapping[str, Any]) -> None:
    """Raise `ConfigError` if one host of a venue was changed and the other left: they would be two venues."""
    usual: dict[str, Any] = dict(values_of(Config()))
    for section in ("feed.binance", "feed.ccxt"):
        rest, stream = f"{section}.rest_url", f"{section}.stream_url"
        if (values[rest] == usual[rest]) is not (values[stream] == usual[stream]):
            left, changed = (stream, rest) if values[stream] == usual[stream] else (rest, stream)
            raise ConfigError(f"{changed} was changed, and {left} was not: they have to be of one venue")


def _check_binds(config: Config) -> None:
    """Raise `ConfigError` for an address that is none, is not allowed, or is taken by something else."""
    publish, serve, control = config.publish, config.serve, config.control
    bound: dict[str, str] = {}
    for key, address, insecure in (
        ("publish.json.bind", publish.json.bind, publish.insecure),
        ("publish.msgpack.bind", publish.msgpack.bind, publish.insecure),
        ("serve.bind", serve.bind, serve.insecure),
        ("control.bind", control.bind, control.insecure),
    ):
        section = key.partition(".")[0]
        if not address and section != "publish":
            continue
        _check_address(key, address)
        parts = urlsplit(address)
        is_here = parts.scheme == "ipc" or parts.hostname in {"127.0.0.1", "localhost", "::1"}
        if not (is_here or insecure):
            what = "read" if section == "publish" else "ask"
            raise ConfigError(
                f"{key} = {address!r} is open to other machines, for anyone to {what}: bind to 127.0.0.1,"
                f" or set {section}.insecure = true"
            )
        if address in bound:
            raise ConfigError(f"{bound[address]} and {key} are the same address")
        bound[address] = key


def _check_address(key: str, address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme == "ipc" and (parts.netloc or parts.path):
        return
    try:
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{key} = {address!r}: {error}") from error
    if parts.scheme != "tcp" or not parts.hostname or port is None:
        raise ConfigError(
            f"{key} = {address!r} is not an address such as tcp://127.0.0.1:5555 or ipc:///run/x"
        )


def speed_of(text: str) -> float | None:
    """Return the multiple of real time that ``10x`` or ``0.5`` stands for; `None` for ``max``.

    Raises:
        ConfigError: It is no speed.
    """
    if text == "max":
        return None
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = 0
    if not 0 < speed < float("inf"):
        raise ConfigError(f"feed.capture.speed = {text!r} is not 1x, a multiple such as 10x, or max")
    return speed

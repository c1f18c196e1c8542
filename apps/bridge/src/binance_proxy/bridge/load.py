"""Find the settings: defaults, then a TOML file, then the environment, then the command line.

A mistake fails here, before anything is opened, and its message names the key.
"""

import dataclasses
import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from binance_proxy.bridge.config import Config
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.errors import ConfigError

DEFAULT_FILE = Path("bridge.toml")
PREFIX = "BRIDGE__"
WITH_PASSWORD = {"store.timescale.url", "archive.url", "cache.url"}
SECRETS = {"feed.binance.api_key", "feed.ccxt.api_key", "feed.ccxt.secret"}
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
_LOGIN = re.compile(r"^(\w+://[^/?#@:]*):([^/?#]*)@")
_PARAMETER = re.compile(r"([?&](?:ssl)?password=)[^&#]*")

Section = TypeVar("Section")


@dataclasses.dataclass(frozen=True)
class Setting:
    """One value, and where it came from."""

    key: str
    value: object
    origin: str


@dataclasses.dataclass(frozen=True)
class Loaded:
    """The configuration, and the story of each value in it."""

    config: Config
    settings: tuple[Setting, ...]


def load_config(file: Path | None, environ: Mapping[str, str], options: Sequence[str]) -> Loaded:
    """Read the configuration.

    Args:
        file: A TOML file; `None` takes ``bridge.toml`` in the working directory if there is one.
        environ: Variables such as ``BRIDGE__STORE__USE``.
        options: ``key=value`` texts, such as ``store.use=memory``.

    Raises:
        ConfigError: A key is unknown, a value is wrong, or the file cannot be read.
    """
    known = dict(_keys(Config))
    given: dict[str, tuple[object, str]] = {}
    given |= {key: (value, origin) for key, value, origin in _from_file(file, known)}
    given |= {key: (value, origin) for key, value, origin in _from_environment(environ, known)}
    given |= {key: (value, origin) for key, value, origin in _from_options(options, known)}
    for key, (_, origin) in given.items():
        if key not in known:
            raise ConfigError(f"{key} ({origin}) is no setting{_nearest(key, known)}")
    config = _build(Config, "", {key: value for key, (value, _) in given.items()})
    _check(config)
    settings = tuple(
        Setting(key, _hidden(key, value), given[key][1] if key in given else "default")
        for key, value in _values(config)
    )
    return Loaded(config, settings)


def _from_file(file: Path | None, known: Mapping[str, Any]) -> Iterator[tuple[str, object, str]]:
    path = file or DEFAULT_FILE
    if file is None and not path.exists():
        return
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    yield from ((key, value, str(path)) for key, value in _flat(content, known))


def _from_environment(
    environ: Mapping[str, str], known: Mapping[str, Any]
) -> Iterator[tuple[str, object, str]]:
    for name, text in environ.items():
        if name.startswith(PREFIX):
            key = name.removeprefix(PREFIX).lower().replace("__", ".")
            yield key, _read(text, known.get(key)), name


def _from_options(options: Sequence[str], known: Mapping[str, Any]) -> Iterator[tuple[str, object, str]]:
    for option in options:
        key, equals, text = option.partition("=")
        if not equals:
            raise ConfigError(f"-o {option} is not key=value")
        yield key.strip(), _read(text, known.get(key.strip())), "-o"


def _flat(
    content: Mapping[str, object], known: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, object]]:
    for name, value in content.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and key not in known:
            yield from _flat(value, known, f"{key}.")
        else:
            yield key, value


def _read(text: str, kind: object) -> object:
    """Read the text of a value as TOML where it is TOML, and as plain text otherwise."""
    if kind is str and not text.startswith(('"', "'")):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _keys(section: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, kind in get_type_hints(section).items():
        if dataclasses.is_dataclass(kind):
            yield from _keys(kind, f"{prefix}{name}.")  # type: ignore[arg-type]  # a class, not an instance
        else:
            yield f"{prefix}{name}", kind


def _build(section: type[Section], prefix: str, given: Mapping[str, object]) -> Section:
    values: dict[str, object] = {}
    for name, kind in get_type_hints(section).items():
        key = f"{prefix}{name}"
        if dataclasses.is_dataclass(kind):
            below = {inner: value for inner, value in given.items() if inner.startswith(f"{key}.")}
            if below:
                values[name] = _build(kind, f"{key}.", below)  # type: ignore[arg-type]  # a class
        elif key in given:
            try:
                values[name] = msgspec.convert(given[key], kind, strict=False)
            except msgspec.ValidationError as error:
                raise ConfigError(f"{key} = {given[key]!r} {_wrong_with(kind, error)}") from error
    try:
        return section(**values)
    except ConfigError as error:
        raise ConfigError(f"{prefix}{error}") from error  # it begins with the name of the setting


def _wrong_with(kind: object, error: msgspec.ValidationError) -> str:
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    if isinstance(kind, type) and issubclass(kind, Enum):
        choices = tuple(member.value for member in kind)
    if choices:
        return "is not one of " + ", ".join(map(str, choices))
    return f"cannot be used: {error}"


def _values(section: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    for field in dataclasses.fields(section):  # type: ignore[arg-type]  # a dataclass, as all sections are
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            yield from _values(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value


def _check(config: Config) -> None:
    """Raise `ConfigError` for values that are of the right type and still cannot be."""
    speed_of(config.feed.capture.speed)
    _check_timeframes(config.record.timeframes)
    values: dict[str, Any] = dict(_values(config))
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
    usual: dict[str, Any] = dict(_values(Config()))
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


def _nearest(key: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]}?" if near else "; `bridge config` shows all that there are"


def _hidden(key: str, value: object) -> object:
    if key in SECRETS and value:
        return "***"
    if key in WITH_PASSWORD and isinstance(value, str):
        return _PARAMETER.sub(r"\1***", _LOGIN.sub(r"\1:***@", value))
    return value


def part_password(url: str) -> tuple[str, str | None]:
    """Return the address of a PostgreSQL without its password, and the password as it was before encoding.

    It stands before the host or in the query; if in both, the one before the host counts, as for asyncpg.
    """
    login = _LOGIN.match(url)
    address, _, query = _LOGIN.sub(r"\1@", url).partition("?")
    in_query = dict(parse_qsl(query)).get("password")
    rest = "&".join(part for part in query.split("&") if not part.startswith("password="))
    return f"{address}?{rest}" if rest else address, unquote(login[2]) if login else in_query


def environment() -> Mapping[str, str]:
    """Return the variables of this process."""
    return os.environ

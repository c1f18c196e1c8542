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
from urllib.parse import parse_qsl, unquote

import msgspec

from binance_proxy.bridge.bounds import check, values_of
from binance_proxy.bridge.config import Config
from binance_proxy.domain.errors import ConfigError

DEFAULT_FILE = Path("bridge.toml")
PREFIX = "BRIDGE__"
WITH_PASSWORD = {"store.timescale.url", "archive.url", "cache.url"}
SECRETS = {"feed.binance.api_key", "feed.ccxt.api_key", "feed.ccxt.secret"}
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
    check(config)
    settings = tuple(
        Setting(key, _hidden(key, value), given[key][1] if key in given else "default")
        for key, value in values_of(config)
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

"""``bridge ask``: one request to a running bridge, and its answer for people."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rich.markup import escape
from rich.table import Table

from binance_proxy.application.moments import utc
from binance_proxy.bridge.listening import ANSWER_S, Place, reached
from binance_proxy.bridge.terminal import out, print_json
from binance_proxy.client import Bridge, RequestFailed
from binance_proxy.domain.errors import BridgeError, ConfigError

TIMEOUT_S = 10.0
"""How long an answer may take, unless ``timeout_ms`` says something else."""
TIMES = {"ts_event", "ts_recv", "start", "end", "as_of"}
WRONG_PARAMS = -32602


class Refused(BridgeError):
    """The bridge answered with an error."""


async def ask(place: Place, method: str | None, given: Sequence[str], *, json: bool) -> None:
    """Send one request, and print the answer; without a method print which there are.

    Raises:
        NoAnswer: No bridge answers requests there.
        Refused: The bridge answered with an error.
        ConfigError: A parameter is not written as ``key=value``, or the address is none.
    """
    if not place.requests:
        raise ConfigError("serve.bind is empty, so nothing answers requests; name another with --address")
    texts = _texts(given)
    async with reached(place) as bridge:
        document: dict[str, Any] = await bridge.request("rpc.discover", timeout_s=ANSWER_S)
        methods: dict[str, dict[str, Any]] = {one["name"]: one for one in document["methods"]}
        if method is None:
            result: Any = document
        elif method not in methods:
            raise Refused(f"there is no method {method}; `bridge ask` lists them")
        else:
            result = await _answer(bridge, method, params_of(methods[method], texts))
    if json:
        print_json(result)
    elif method is None:
        _show_methods(list(methods.values()))
    else:
        show(result)


async def _answer(bridge: Bridge, method: str, params: Mapping[str, object]) -> object:
    wanted = params.get("timeout_ms")
    timeout_s = wanted / 1_000 if isinstance(wanted, int) and wanted > 0 else TIMEOUT_S
    try:
        return (await bridge.ask(method, params, timeout_s)).read(object)
    except RequestFailed as error:
        more = "; `bridge ask` lists the parameters" if error.code == WRONG_PARAMS else ""
        raise Refused(f"{error}{more}") from error


def _texts(given: Sequence[str]) -> dict[str, str]:
    """Read ``key=value`` words."""
    texts = {}
    for word in given:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise ConfigError(f"{word!r} is not a parameter such as symbol=ETH/USDT")
        texts[key] = value
    return texts


def params_of(method: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, object]:
    """Make of each text what the method takes: text where it takes nothing else, or what it is in JSON."""
    schemas = {one["name"]: one.get("schema", {}) for one in method.get("params", ())}
    return {key: _value(text, schemas.get(key, {})) for key, text in texts.items()}


def _value(text: str, schema: Mapping[str, Any]) -> object:
    kinds = {one.get("type", "string") for one in schema.get("anyOf", [schema])} - {"null"}
    if kinds == {"string"} and text != "null":
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _show_methods(methods: Sequence[Mapping[str, Any]]) -> None:
    width = max(len(method["name"]) for method in methods)
    for method in methods:
        params = [one["name"] if one.get("required") else f"[{one['name']}]" for one in method["params"]]
        words = " ".join(one for one in params if one != "[timeout_ms]")
        out.print(f"{method['name']:{width}}  {words}".rstrip(), markup=False, style="bold")
        out.print(f"{'':{width}}  {method.get('summary', '')}", markup=False)
    out.print("What is in [] may be left out. Every method also takes [timeout_ms].", markup=False)


def show(result: object) -> None:
    """Print what was answered: a line for each value, and a table for each list."""
    if not isinstance(result, dict):
        out.print(_text("", result), markup=False)
        return
    tables = {key: value for key, value in result.items() if value and isinstance(value, list)}
    lines = {key: value for key, value in result.items() if key not in tables}
    width = max(map(len, lines), default=0)
    for key, value in lines.items():
        out.print(f"{key:{width}}  {_text(key, value)}", markup=False)
    for key, rows in tables.items():
        if lines or len(tables) > 1:
            out.print(escape(key), style="bold")
        out.print(_table(rows))


def _table(rows: Sequence[Any]) -> Table:
    maps = [row for row in rows if isinstance(row, dict)]
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=bool(maps))
    keys = list(dict.fromkeys(key for row in maps for key in row))
    for key in keys:
        table.add_column(escape(key))
    for row in rows:
        if maps:
            cells = [_text(key, row.get(key, "")) for key in keys] if isinstance(row, dict) else [str(row)]
        else:
            cells = [_text("", one) for one in row] if isinstance(row, list) else [_text("", row)]
        table.add_row(*map(escape, cells))
    return table


def _text(key: str, value: object) -> str:
    if key in TIMES and isinstance(value, int):
        return utc(value)
    if value is None:
        return "-"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value) or "none"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

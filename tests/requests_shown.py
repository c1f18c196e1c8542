"""The examples of the requests as they are really answered, and the pages that are made of the methods.

Run it to write them anew: ``uv run python tests/requests_shown.py``. The tests say if that is due.
"""

import asyncio
import json
import pprint
import subprocess
from pathlib import Path
from typing import Any

from asking import Asking, asking
from binance_proxy.application.serve.methods import METHODS
from binance_proxy.application.serve.openrpc import document
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Stream
from contract.live import World, recorded
from ticks_made import ETH, snapshot, trade

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "packages/application/src/binance_proxy/application/serve/examples.py"
DOCUMENT = ROOT / "docs/reference/openrpc.json"
PAGE = ROOT / "docs/reference/requests.md"
MARK = "<!-- From here on this page is made by tests/requests_shown.py -->\n"

SYMBOL = {"symbol": "ETH/USDT"}
FROM = "2024-08-09T00:00:00Z"
BOOK = snapshot(
    100, 1,
    bids=((304_990, 200_000), (304_980, 300_000), (304_000, 500_000)),
    asks=((305_010, 100_000), (305_020, 100_000), (306_000, 400_000)),
)  # fmt: skip
PARAMS: dict[str, dict[str, Any]] = {
    "pairs.list": {},
    "pairs.add": {"symbol": "BTC/USDT", "market": "spot", "streams": ["trades"]},
    "pairs.remove": {"symbol": "SOL/USDT", "market": "spot"},
    "instruments.list": {},
    "instruments.get": SYMBOL,
    "trades.list": SYMBOL | {"start": FROM, "limit": 2},
    "candles.list": SYMBOL | {"timeframe": "1m", "start": FROM},
    "orderbook.get": SYMBOL | {"levels": 2},
    "orderbook.depth": SYMBOL | {"levels": 2},
    "stats.spread": SYMBOL,
    "stats.vwap": SYMBOL | {"start": FROM, "end": "2024-08-09T00:01:00Z"},
    "stats.slippage": SYMBOL | {"side": "buy", "size": "1.5"},
    "stats.liquidity": SYMBOL | {"bps": 10},
    "gaps.list": SYMBOL | {"stream": "trades"},
    "bridge.status": {},
    "topics.since": {"topic": "binance.spot.ethusdt.trades", "epoch": "e1", "sequence": 1},
}


async def bridge() -> Asking:
    """Return a small bridge: three trades, a hole before the last one, a book."""
    trades = [trade(1, 5), trade(2, 12_000, price=305_112, size=50_000), trade(5, 61_000, price=305_090)]
    hole = Gap(
        instrument=ETH, ts_event=trades[2].ts_event, ts_recv=trades[2].ts_recv, stream=Stream.TRADES,
        first_id=3, last_id=4, start=trades[1].ts_event, end=trades[2].ts_event, state=GapState.OPEN,
    )  # fmt: skip
    asked = await asking([*trades, hole])
    asked.live.books[ETH.name] = BOOK
    for one in trades[:2]:
        asked.live.publisher.publish(one)
    async with recorded(World()) as live:
        asked.live.told = await live.status()
    return asked


async def examples() -> dict[str, tuple[dict[str, Any], Any]]:
    """Return one question of each method, and its answer."""
    return {
        method: (PARAMS[method], await (await bridge()).ask(method, **PARAMS[method])) for method in METHODS
    }


def sections() -> str:
    """Return the page's part about the methods."""
    return "\n".join(_section(method) for method in document()["methods"])


def _section(method: dict[str, Any]) -> str:
    lines = [f"## {method['name']}", "", method["summary"]]
    own = [one for one in method["params"] if one["name"] != "timeout_ms"]  # every method has it
    if own:
        lines += ["", "| parameter | type | default | meaning |", "|---|---|---|---|"]
    for one in own:
        schema = one["schema"]
        default = "needed" if one["required"] else f"`{json.dumps(schema.get('default'))}`"
        lines.append(f"| `{one['name']}` | {_type(schema)} | {default} | {one.get('description', '')} |")
    if fields := _fields(method["result"]["schema"]):
        lines += ["", "The result:", "", "| field | type | meaning |", "|---|---|---|"]
        lines += fields
    for example in method.get("examples", ()):
        params = {one["name"]: one["value"] for one in example["params"]}
        request = {"jsonrpc": "2.0", "id": 7, "method": method["name"], "params": params}
        answer = {"jsonrpc": "2.0", "id": 7, "result": example["result"]["value"]}
        lines += ["", "```json", json.dumps(request), json.dumps(answer), "```"]
    return "\n".join(lines) + "\n"


def _fields(schema: dict[str, Any]) -> list[str]:
    components = document()["components"]["schemas"]
    if "$ref" not in schema:
        return []
    shown = components[schema["$ref"].rpartition("/")[2]]
    required = set(shown.get("required", ()))
    return [
        f"| `{name}`{', optional' * (name not in required)} | {_type(one)} | {one.get('description', '')} |"
        for name, one in shown["properties"].items()
    ]


def _type(schema: dict[str, Any]) -> str:
    """Return the type of a value in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        shown = document()["components"]["schemas"][name]
        return _type(shown) if "enum" in shown else f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join("null" if one is None else f"`{one}`" for one in schema["enum"])
    kind = schema.get("type", "anything")
    if kind == "array":
        items = schema.get("prefixItems")
        inner = f"[{', '.join(_type(one) for one in items)}]" if items else _type(schema.get("items") or {})
        return inner if items else f"list of {inner}"
    words = {"integer": "int", "number": "float", "string": "text", "boolean": "bool", "object": "map"}
    bounds = [
        f"{sign} {schema[key]:,}"
        for key, sign in (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="))
        if key in schema
    ]
    return " ".join([words.get(kind, kind), *bounds])


def kinds() -> str:
    """Return the page's part about what is in the results."""
    parts = []
    for name in ("TradeRow", "CandleRow", "GapRow", "Hole", "PairRow", "InstrumentRow", "ArrowFrame"):
        fields = _fields({"$ref": f"/{name}"})
        summary = document()["components"]["schemas"][name]["description"]
        parts.append(
            "\n".join([f"## {name}", "", summary, "", "| field | type | meaning |", "|---|---|---|", *fields])
            + "\n"
        )
    return "\n".join(parts)


def page() -> str:
    """Return the page as it should be: what was written by hand, and what is made."""
    written, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    return f"{written}{MARK}\n{sections()}\n{kinds()}"


def openrpc() -> str:
    """Return the document as its file should be."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def write_examples() -> None:
    """Write the examples down, for a process that begins after it."""
    found = pprint.pformat(asyncio.run(examples()), width=100, sort_dicts=False)
    EXAMPLES.write_text(
        '"""One example of each method, as really answered; written by ``tests/requests_shown.py``."""\n\n'
        f"from typing import Any\n\nEXAMPLES: dict[str, tuple[dict[str, Any], Any]] = {found}\n"
    )
    subprocess.run(["ruff", "format", "--quiet", str(EXAMPLES)], check=True)


if __name__ == "__main__":
    import sys

    if sys.argv[1:] == ["pages"]:
        DOCUMENT.write_text(openrpc(), encoding="utf-8")
        PAGE.write_text(page(), encoding="utf-8")
    else:
        write_examples()
        subprocess.run([sys.executable, __file__, "pages"], check=True)

"""``bridge status``: how a running bridge says that it is."""

import asyncio
from typing import Any

import msgspec
from rich.markup import escape
from rich.table import Table

from binance_proxy.adapters.zeromq.cloudevents import bare_json
from binance_proxy.bridge.listening import ANSWER_S, listening, no_answer, unreadable
from binance_proxy.bridge.terminal import out, print_json, utc
from binance_proxy.domain.errors import BridgeError

WORDS = {
    "trades": "trades recorded in this run",
    "quotes": "book updates recorded",
    "applied": "of them applied to books",
    "duplicates": "ticks that had come before",
    "gaps": "gaps found",
    "open_gaps": "gaps still open",
    "repaired": "gaps repaired",
    "lost": "gaps that nobody can fill",
    "fetched": "missing trades that the exchange gave",
    "resyncs": "books that missed an update",
    "disconnects": "connections lost",
    "stored": "rows in the store",
    "waiting": "events that wait in memory for the store",
    "in_spool": "events that wait in the spool",
    "spooled": "events that went to the spool",
    "drained": "events that came out of it into the store",
    "set_aside": "events that the store would not take",
    "dropped": "events dropped, as there was no room",
}
WORRYING = {"open_gaps", "in_spool", "set_aside", "dropped"}


class NoAnswer(BridgeError):
    """Nothing on that address says how it is."""


async def status(address: str, *, json: bool) -> int:
    """Print what the bridge says of itself; return 1 if a book is stale, a gap open or nothing kept, else 0.

    Raises:
        NoAnswer: No bridge publishes JSON there.
        ConfigError: The address is none.
    """
    said = await _hear(address)
    instruments: dict[str, str] = said.get("instruments", {})
    well = (
        "stale" not in instruments.values()
        and not said.get("open_gaps")
        and said.get("recording") != "stopped"
    )
    if json:
        print_json(said)
        return 0 if well else 1
    out.print(f"the bridge on {address}, {utc(said['ts_recv'])} UTC")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("instrument")
    table.add_column("book")
    for name, state in instruments.items():
        table.add_row(escape(name), f"[bold red]{state}[/]" if state == "stale" else state)
    out.print(table)
    for key, words in WORDS.items():
        number = said.get(key, 0)
        out.print(f"{number:>15,} {words}", style="yellow" if key in WORRYING and number else "")
    for kind, number in said.get("bad_frames", {}).items():
        out.print(f"{number:>15,} frames skipped: {escape(kind)}", style="yellow")
    if said.get("oldest_unstored_s", 0) >= 1:
        out.print(f"the oldest tick that is not stored has waited for {said['oldest_unstored_s']:,.0f} s")
    if said.get("recording") == "spooling":
        out.print("the database is away or too slow: ticks go to the spool", style="yellow")
    if said.get("recording") == "stopped":
        out.print("RECORDING IS STOPPED: there is no room for ticks; the log says more", style="bold red")
    if said.get("feed_held"):
        out.print("the feed waits for the store", style="bold red")
    return 0 if well else 1


async def _hear(address: str) -> dict[str, Any]:
    """Return the next thing that a bridge says of itself."""
    with listening(address) as socket:
        try:
            async with asyncio.timeout(ANSWER_S):
                _, body = await socket.recv_multipart()
            return msgspec.json.decode(bare_json(body), type=dict[str, Any])
        except TimeoutError:
            raise NoAnswer(no_answer(address)) from None
        except (msgspec.MsgspecError, ValueError) as error:
            raise NoAnswer(unreadable(address)) from error

"""``bridge status``: how a running bridge says that it is."""

from collections.abc import Iterator
from typing import Any

from rich.markup import escape
from rich.table import Table

from binance_proxy.application.moments import utc
from binance_proxy.bridge.listening import NoAnswer, Place, reached
from binance_proxy.bridge.terminal import count, out, print_json

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
ASKED = {
    "in_progress": "in progress",
    "waiting": "waiting",
    "failed": "failed",
    "timed_out": "too late",
    "refused": "refused",
}
WORRYING = {"open_gaps", "in_spool", "set_aside", "dropped"}


CONTROL_S = 2.0
"""How long the control socket may take; then what the bridge publishes of itself is heard."""


async def status(place: Place, *, json: bool) -> int:
    """Print what the bridge says of itself; return 1 if a book is stale, a gap open or nothing kept, else 0.

    It is asked on its control socket. One that has none says the same on its topic, once a second.

    Raises:
        NoAnswer: No bridge is there.
        ConfigError: An address is none.
    """
    said = await _ask(place)
    instruments: dict[str, str] = said.get("instruments", {})
    well = (
        "stale" not in instruments.values()
        and not said.get("open_gaps")
        and said.get("recording") != "stopped"
    )
    if json:
        print_json(said)
        return 0 if well else 1
    out.print(f"the bridge on {place}, {utc(said.get('ts_recv', 0))} UTC")
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
    for line, style in _beside(said):
        out.print(escape(line), style=style)
    if said.get("oldest_unstored_s", 0) >= 1:
        out.print(f"the oldest tick that is not stored has waited for {said['oldest_unstored_s']:,.0f} s")
    if said.get("recording") == "spooling":
        out.print("the database is away or too slow: ticks go to the spool", style="yellow")
    if said.get("recording") == "stopped":
        out.print("RECORDING IS STOPPED: there is no room for ticks; the log says more", style="bold red")
    if said.get("feed_held"):
        out.print("the feed waits for the store", style="bold red")
    return 0 if well else 1


def _beside(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Say who asks, who listens, and what is kept of answers; a bridge without these parts says nothing."""
    serve = said.get("serve", {})
    if serve:
        line = (
            f"{serve.get('answered', 0):>15,} requests answered by {count(serve.get('workers', 0), 'worker')}"
        )
        now = [f"{serve[key]:,} {word}" for key, word in ASKED.items() if serve.get(key)]
        yield f"{line}; {', '.join(now)}" if now else line, ""
        if serve.get("workers_replaced") or serve.get("fronts_replaced"):
            died = serve.get("workers_replaced", 0) + serve.get("fronts_replaced", 0)
            yield f"{died:>15,} processes that answered have died, and were replaced", "yellow"
    subscribers = said.get("subscribers") or {}
    doors = subscribers.get("connections", [])
    if doors:
        yield f"{sum(door.get('connected', 0) for door in doors):>15,} connections that listen", ""
    for client in subscribers.get("clients", []):
        if client.get("lagging"):
            behind = f"{client.get('lag', 0):,} messages" if client.get("lag") else "in an earlier run"
            yield f"{behind:>15} behind: {client.get('client', '')}", "yellow"
    for door in doors:
        for one in door.get("queued", []):
            if one.get("lagging"):
                yield f"{one.get('bytes', 0):>15,} bytes wait for {one.get('peer', '')}, which lags", "yellow"
    cache = said.get("cache", {})
    if cache.get("use", "none") != "none":
        if cache.get("reachable", True):
            yield f"answers are kept for a moment in {cache['use']}", ""
        else:
            yield "the cache is away: every answer is worked out anew", "yellow"


async def _ask(place: Place) -> dict[str, Any]:
    """Return what a bridge says of itself."""
    if place.control:
        try:
            async with reached(Place(control=place.control)) as bridge:
                said: dict[str, Any] = await bridge.request("bridge.status", timeout_s=CONTROL_S)
                return said
        except NoAnswer:
            pass  # an older bridge, or none
    async with reached(Place(publish=place.publish)) as bridge:
        return bridge.said

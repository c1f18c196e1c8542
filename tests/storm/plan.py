"""What a storm over the store is to do, what it has done, and how that is told."""

from collections import Counter
from dataclasses import dataclass, field

from storm.account import Account


@dataclass(frozen=True)
class Plan:
    """What is to happen."""

    events: int = 5_000_000
    seed: int = 1
    stops: int = 20
    """How often the server is stopped; half of them, about, without a farewell, as in a crash."""
    kills: int = 10
    """How often the recorder is killed: while it stores, while it spools and while it drains."""
    cuts: int = 20
    """Commits of batches whose answer is cut off."""
    terminations: int = 10
    """How often the server ends all connections of the recorder."""
    holes: int = 4
    """How often the network swallows everything for a while; in the last but one case for ever."""
    full: int = 1
    """How often the disk of the spool is full."""
    mounts: bool = True
    """Whether the spool gets a disk of its own, if that can be mounted."""


@dataclass
class Outcome:
    """What has happened."""

    server: str = ""
    disk: str = ""
    seconds: float = 0.0
    happened: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)
    """Of all recorders together, as `Said` has it; of a killed one as it was just before."""
    account: Account = field(default_factory=Account)
    wrong: list[str] = field(default_factory=list)


def table(plan: Plan, outcome: Outcome) -> str:
    """Return what has happened, for people."""
    happened, said, account = outcome.happened, outcome.said, outcome.account
    stops = happened["stopped"] + happened["stopped at once"]
    spooling, draining = happened["killed while it spooled"], happened["killed while it drained"]
    ended = happened["connections ended"]
    lines = [
        ("server", outcome.server),
        ("seed", plan.seed),
        ("took", f"{outcome.seconds:,.0f} s"),
        ("database stopped", f"{stops} ({happened['stopped at once']} of them as in a crash)"),
        ("database started again", happened["started"]),
        ("times all connections were ended", f"{happened['terminations']} ({ended} connections)"),
        ("commits cut off before their answer", happened["commits cut off"]),
        ("times the network swallowed everything", happened["holes"]),
        ("recorder killed", f"{happened['killed']} ({spooling} as it spooled, {draining} as it drained)"),
        ("disk of the spool full", f"{happened['disk full']} ({outcome.disk})"),
        ("batches refused then, events dropped", f"{said['refusals']:,}, {said['dropped']:,}"),
        ("events sent once more", f"{said['resent']:,}"),
        ("events through the spool", f"{said['spooled']:,}"),
        ("of these, stored already when handed on", f"{said['drained'] - said['drained_new']:,}"),
    ]
    for kind, sent in account.sent.items():
        lines.append((f"{kind} sent, stored", f"{sent:,}, {account.stored[kind]:,}"))
    lines += [
        ("sent in all", f"{account.sent.total():,}"),
        ("stored, equal in every field", f"{account.equal:,}"),
        ("candles compared with the fold", f"{account.candles:,}"),
    ]
    return "\n".join(f"  {name:44} {value}" for name, value in lines)

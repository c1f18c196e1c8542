"""What every command takes, and how its work is run."""

import asyncio
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

from binance_proxy.bridge.load import Loaded, environment, load_config
from binance_proxy.bridge.terminal import LogFormat, set_up_log

if sys.platform == "win32":
    from asyncio import new_event_loop
else:
    from uvloop import new_event_loop

Result = TypeVar("Result")

Json = Annotated[bool, Parameter(name="--json", negative=(), show_default=False)]


@Parameter(name="*")
@dataclass
class Common:
    """What every command takes."""

    config: Path | None = None
    """Read settings from this TOML file instead of ./bridge.toml."""
    option: Annotated[
        tuple[str, ...], Parameter(name=("--option", "-o"), negative=(), show_default=False)
    ] = ()
    """Set one setting, as key=value; may be given several times. `bridge config` lists all keys."""
    log_format: LogFormat = LogFormat.CONSOLE
    """How log lines look, on standard error."""

    def load(self, *more: str) -> Loaded:
        """Return the effective configuration."""
        set_up_log(self.log_format)
        return load_config(self.config, environment(), [*self.option, *more])


COMMON = Common()


def finish(work: Coroutine[Any, Any, Result]) -> Result:
    """Run something to its end, on a loop of its own."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work)

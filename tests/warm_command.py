"""`bridge` commands in processes of their own, forked from one that has loaded the program already.

What a command does, prints and leaves behind is the same as that of a fresh process; only loading it, which
takes longer than most commands do, is done once.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["warm_command", "binance_proxy.bridge.cli"])


def complete(words: Sequence[str], timeout_s: float) -> CompletedProcess[str]:
    """Run ``bridge`` with these words to its end, in our environment and folder."""
    with tempfile.TemporaryDirectory() as place:
        said = [Path(place, name) for name in ("out", "err")]
        process = _FORKS.Process(target=_be_bridge, args=(words, dict(os.environ), Path.cwd(), said))
        process.start()
        process.join(timeout_s)
        if process.is_alive():
            process.kill()
            process.join()
            raise TimeoutExpired(["bridge", *words], timeout_s)
        return CompletedProcess(["bridge", *words], process.exitcode, *(path.read_text() for path in said))


def _be_bridge(words: Sequence[str], environment: dict[str, str], folder: Path, said: list[Path]) -> None:
    from binance_proxy.bridge.cli import main  # noqa: PLC0415  the forks have it already

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for path, stream in zip(said, (sys.stdout, sys.stderr), strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), stream.fileno())
    sys.argv = ["bridge", *words]
    main()

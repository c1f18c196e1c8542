"""Child processes that end when the bridge does, whatever ends it, and the user they run as."""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from binance_proxy.adapters.embedded import launch
from binance_proxy.application.ports import StoreRejected, StoreUnavailable

POLL_S = 0.01
LAUNCHER = Path(launch.__file__)
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
"""The only variables a child gets: others may hold keys, or change what it does, as PGPORT would."""

Ladder = Sequence[tuple[signal.Signals, float]]
"""Signals in the order they are sent, each with the seconds that it is given to work."""


@dataclass(frozen=True)
class Account:
    """The user that a child runs as when the bridge runs as root."""

    uid: int
    gid: int
    name: str


def account_for(existing: Path | None = None) -> Account | None:
    """Choose who runs the server: the owner of `existing` if it is there, else `postgres`, else `nobody`.

    Returns:
        None when the child simply stays who the bridge is.

    Raises:
        StoreRejected: `existing` belongs to somebody whom the bridge may not, or the server must not, become.
    """
    try:
        there = existing.stat() if existing else None
    except FileNotFoundError:
        there = None
    kept = there.st_uid if there else None
    if os.geteuid() != 0:
        if kept is not None and kept != os.geteuid():
            raise StoreRejected(
                f"{existing} belongs to user {_name(kept)}:"
                " run the bridge as that user, or choose another data_dir."
            )
        return None
    if kept == 0:
        raise StoreRejected(
            f"{existing} belongs to root, as whom PostgreSQL refuses to run: give it to an ordinary user"
            " (chown -R), or choose another data_dir."
        )
    for wanted in ("postgres", "nobody") if kept is None else (kept,):
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(wanted) if isinstance(wanted, str) else pwd.getpwuid(wanted)
            return Account(found.pw_uid, found.pw_gid, found.pw_name)
    if there:
        return Account(there.st_uid, there.st_gid, str(there.st_uid))
    raise StoreRejected(
        "There is neither a user postgres nor nobody for the server: run the bridge as an ordinary user."
    )


def start(
    program: Sequence[str | Path],
    *,
    account: Account | None,
    reach: Sequence[Path],
    output: int,
    on_parent_death: signal.Signals,
    stdin: int = subprocess.DEVNULL,
    keep_open: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a child that gets the signal `on_parent_death` when the bridge ends, `kill -9` included (Linux).

    It has a session of its own, so that Ctrl-C in a terminal reaches the bridge only. Call this from a thread
    that lives as long as the child shall: the kernel takes the end of the thread that forked for the death of
    the parent. Plain `subprocess`, because it is the same under every event loop. On other systems than Linux
    a killed bridge leaves the child behind.
    """
    uid, gid = (account.uid, account.gid) if account else (-1, -1)
    told = [os.getpid(), int(on_parent_death), uid, gid, os.pathsep.join(map(str, reach))]
    return subprocess.Popen(  # noqa: S603 - a list of our own words, no shell
        [sys.executable, "-I", "-S", LAUNCHER, *map(str, told), *program],
        stdin=stdin,
        stdout=output,
        stderr=output,
        cwd="/",
        env={name: os.environ[name] for name in PASSED_ON if name in os.environ} | {"LC_ALL": "C"},
        start_new_session=True,
        pass_fds=keep_open,
    )


async def run(
    program: Sequence[str | Path],
    *,
    account: Account | None,
    reach: Sequence[Path],
    stdin_text: str = "",
    keep_open: Sequence[int] = (),
) -> tuple[int, str]:
    """Run a child to its end and return its exit status and all that it printed.

    When cancelled, or when the bridge dies, it is killed at once together with the processes it started.
    """
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as output:
        stdin.write(stdin_text.encode())
        stdin.seek(0)
        child = start(
            program,
            account=account,
            reach=reach,
            output=output.fileno(),
            on_parent_death=signal.SIGKILL,
            stdin=stdin.fileno(),
            keep_open=keep_open,
        )
        try:
            while child.poll() is None:  # noqa: ASYNC110 - a child's end sets no event under every loop
                await asyncio.sleep(POLL_S)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        output.seek(0)
        return child.returncode, output.read().decode(errors="replace")


async def stop(send: Callable[[signal.Signals], None], alive: Callable[[], bool], ladder: Ladder) -> bool:
    """Send each signal in turn until the process is gone, and return whether it is.

    A cancellation while it waits means hurry: the rest of the ladder is then climbed without giving the loop
    back, a second a step, so that the process never outlives the call.
    """
    climbed = 0
    try:
        for sign, limit_s in ladder:
            climbed += 1
            send(sign)
            deadline = time.monotonic() + limit_s
            while alive() and time.monotonic() < deadline:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(POLL_S)
            if not alive():
                return True
    except BaseException:
        for sign, _ in ladder[climbed:]:
            send(sign)
            deadline = time.monotonic() + 1
            while alive() and time.monotonic() < deadline:
                time.sleep(POLL_S)  # noqa: ASYNC251 - the loop is going away; the process must first
        raise
    return not alive()


async def within_reach(program: Path, folder: Path, account: Account | None, copied: Path) -> Path:
    """Return a path of `program` that `account` can execute: itself, or a copy of its tree below `copied`.

    Raises:
        StoreRejected: The account cannot enter `folder`, or root may not become that account.
    """
    if account is None:
        return program
    status, said = await run([], account=account, reach=[folder, program])
    if status == launch.UNREACHABLE and said.strip() == str(program):
        program = await asyncio.to_thread(_copy, program, copied)
        status, said = await run([], account=account, reach=[folder, program])
    if status == launch.UNREACHABLE:
        raise StoreRejected(
            f"User {account.name}, as whom the server runs because the bridge is root, cannot enter"
            f" {said.strip()}:"
            " choose a data_dir outside closed folders, or run the bridge as an ordinary user."
        )
    if status == launch.NO_STEPPING_DOWN:
        raise StoreRejected(
            f"The server cannot run as user {account.name} ({said.strip()}):"
            " run the bridge as an ordinary user."
        )
    if status:
        raise StoreUnavailable(f"The launcher of the server failed with status {status}: {said.strip()}")
    return program


def _copy(program: Path, copied: Path) -> Path:
    """Copy what `program` needs of its wheel, readable by all: its version's tree and the libraries beside.

    The copy appears under its final name only when it is complete.
    """
    packages = program.parents[3]
    if not copied.exists():
        partial = copied.with_name(f"{copied.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        for tree in (program.parents[1], packages / f"{program.parents[2].name}.libs"):
            if tree.exists():
                needless = shutil.ignore_patterns("*.a", "include")
                shutil.copytree(tree, partial / tree.relative_to(packages), symlinks=True, ignore=needless)
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        partial.rename(copied)
    return copied / program.relative_to(packages)


def _name(uid: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)

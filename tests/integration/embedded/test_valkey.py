"""The embedded Valkey, with real processes: every way in, every way out, and what is left behind."""

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import valkey

from binance_proxy.adapters.embedded import valkey as embedded
from binance_proxy.adapters.embedded.valkey import open_valkey, valkey_program
from binance_proxy.application.ports import CacheRejected, CacheUnavailable
from valkeys import running_valkey

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc, kills parents")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become other users")

PATIENCE_S = 60.0
LIMIT_BYTES = 8 * 1024**2

OWNER = """
import asyncio, sys
from pathlib import Path
from binance_proxy.adapters.embedded.valkey import open_valkey

async def main():
    async with open_valkey(Path(sys.argv[1]), limit_bytes=8 * 1024**2, owner="test owner") as server:
        print(server.socket, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@contextlib.contextmanager
def owner(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Run a server in a process of its own. Gives that process and the socket."""
    child = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    socket = ""
    try:
        assert child.stdout is not None
        socket = child.stdout.readline().strip()
        assert socket
        yield child, Path(socket)
    finally:
        child.kill()
        child.communicate()
        if socket:
            shutil.rmtree(Path(socket).parent, ignore_errors=True)


def living(socket: Path) -> list[int]:
    """Find every process that has the socket among its words."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and str(socket).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def user_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def listening_on_tcp(pid: int) -> list[str]:
    """Return the lines of the kernel's tables of TCP that are about sockets of a process."""
    its_own = set()
    for there in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            its_own.add(str(there.readlink()))
    lines = [
        line
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return [line for line in lines if f"socket:[{line.split()[9]}]" in its_own]


def ask(socket: Path) -> valkey.Valkey:
    return valkey.Valkey(unix_socket_path=str(socket))


async def test_it_runs_on_a_socket_alone_keeps_nothing_on_disk_and_leaves_nothing(tmp_path: Path) -> None:
    async with open_valkey(tmp_path / "valkey", limit_bytes=LIMIT_BYTES, owner="test") as server:
        assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
        assert server.socket.parent.stat().st_uid == os.geteuid()
        assert len(os.fsencode(server.socket)) <= 100
        with contextlib.closing(ask(server.socket)) as client:
            client.set("k", b"1")
            configured = client.config_get("*")
            told = {name: configured[name] for name in ("port", "save", "appendonly", "maxmemory-policy")}
            assert told == {"port": "0", "save": "", "appendonly": "no", "maxmemory-policy": "allkeys-lru"}
            assert int(configured["maxmemory"]) == LIMIT_BYTES
        [pid] = living(server.socket)
        assert not listening_on_tcp(pid)
    assert not living(server.socket)
    assert not server.socket.parent.exists()
    assert {path.name for path in (tmp_path / "valkey").iterdir()} <= {"lock", "server.log", "binaries"}


async def test_it_never_holds_more_than_its_limit(tmp_path: Path) -> None:
    async with running_valkey(tmp_path / "valkey", LIMIT_BYTES) as server, server.cache() as cache:
        for number in range(400):
            await cache.put(str(number), bytes(100_000), 3_600)
            assert await cache.get(str(number)) is not None
        assert server.raw.info("memory")["used_memory"] < 2 * LIMIT_BYTES
        assert await cache.get("0") is None
        assert server.raw.info("stats")["evicted_keys"] > 0


@as_root
async def test_as_root_it_runs_as_another_user(tmp_path: Path) -> None:
    async with open_valkey(tmp_path / "valkey", limit_bytes=LIMIT_BYTES, owner="test") as server:
        [pid] = living(server.socket)
        assert user_of(pid) != 0
        assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700, "others must not pass through it"
        assert server.socket.parent.stat().st_uid == 0, "nor others that run as the same user"


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_end_of_the_bridge_leaves_a_process(tmp_path: Path, sign: signal.Signals) -> None:
    with owner(tmp_path / "valkey") as (child, socket):
        assert living(socket)
        child.send_signal(sign)
        child.wait(PATIENCE_S)
        wait_until(lambda: not living(socket))


async def test_the_next_start_removes_the_folder_of_a_bridge_that_was_killed(tmp_path: Path) -> None:
    with owner(tmp_path / "valkey") as (child, socket):
        child.kill()
        child.wait()
        wait_until(lambda: not living(socket))
        assert socket.exists(), "a stale socket, as kill -9 leaves it"
        async with open_valkey(tmp_path / "valkey", limit_bytes=LIMIT_BYTES, owner="test") as server:
            assert not socket.parent.exists()
            assert ask(server.socket).ping()


async def test_nothing_else_is_removed_whatever_the_file_names(tmp_path: Path) -> None:
    folder = tmp_path / "valkey"
    precious = tmp_path / "bridge-valkey-precious"
    precious.mkdir()
    (precious / "data").write_text("1")
    for name in (str(precious), "/", "", str(tmp_path), "bridge-valkey-\0"):
        folder.mkdir(exist_ok=True)
        (folder / "socket-folder").write_text(name)
        with contextlib.suppress(CacheRejected):
            async with open_valkey(folder, limit_bytes=LIMIT_BYTES, owner="test"):
                pass
        (folder / "socket-folder").unlink(missing_ok=True)
    assert (precious / "data").read_text() == "1"


async def test_a_second_bridge_in_the_same_folder_is_told_who_has_it(tmp_path: Path) -> None:
    with (
        owner(tmp_path / "valkey") as (child, _),
        pytest.raises(CacheUnavailable, match=rf"in use by test owner \(pid {child.pid}\)"),
    ):
        async with open_valkey(tmp_path / "valkey", limit_bytes=LIMIT_BYTES, owner="test", wait_s=0.1):
            pass


async def test_a_second_bridge_waits_for_the_first_to_end(tmp_path: Path) -> None:
    with owner(tmp_path / "valkey") as (child, _):
        asyncio.get_running_loop().call_later(0.2, child.terminate)
        async with open_valkey(
            tmp_path / "valkey", limit_bytes=LIMIT_BYTES, owner="test", wait_s=PATIENCE_S
        ) as server:
            assert ask(server.socket).ping()


async def test_it_is_started_again_when_it_dies_however_often(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_valkey(tmp_path / "valkey") as server:
        for _ in range(4):
            before = server.pid
            await server.kill()
            assert server.pid != before
            assert server.raw.ping()
    assert "ended by itself with status -9" in caplog.text


async def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheRejected, match=rf"cannot use {tmp_path}/file"):
        async with open_valkey(tmp_path / "file" / "valkey", limit_bytes=LIMIT_BYTES, owner="test"):
            pass


async def test_no_folder_for_the_socket_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(CacheRejected, match="cannot use"):
        async with open_valkey(tmp_path / "valkey", limit_bytes=LIMIT_BYTES, owner="test"):
            pass


async def test_the_folder_for_temporary_files_may_have_a_long_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = tmp_path / ("far" * 40)
    far.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(far))
    async with open_valkey(tmp_path / "valkey", limit_bytes=LIMIT_BYTES, owner="test") as server:
        assert server.socket.is_relative_to("/tmp")
        assert ask(server.socket).ping()


async def test_what_the_server_refuses_is_said_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(CacheRejected, match=r"refused to start: .*argument"):
        async with open_valkey(tmp_path / "valkey", limit_bytes="many", owner="test"):  # type: ignore[arg-type]
            pass
    assert not (tmp_path / "valkey" / "socket-folder").exists()


def test_a_machine_that_there_is_no_program_for_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.platform, "machine", lambda: "riscv64")
    with pytest.raises(CacheRejected, match=r"no Valkey for linux-riscv64: set cache\.url"):
        valkey_program()


def test_a_wheel_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)
    with pytest.raises(CacheRejected, match="install the `embedded` extra"):
        valkey_program()


@pytest.mark.parametrize("after_s", [0, 0.01, 0.03, 0.06, 0.1])
async def test_cancelled_at_any_time_it_leaves_no_process(tmp_path: Path, after_s: float) -> None:
    async def stay() -> None:
        async with open_valkey(tmp_path / "valkey", limit_bytes=LIMIT_BYTES, owner="test"):
            await asyncio.Event().wait()

    staying = asyncio.create_task(stay())
    await asyncio.sleep(after_s)
    remembered = tmp_path / "valkey" / "socket-folder"
    socket = Path(remembered.read_text(), "s") if remembered.exists() else None
    staying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await staying
    assert not remembered.exists()
    if socket:
        assert not living(socket)
        assert not socket.parent.exists()

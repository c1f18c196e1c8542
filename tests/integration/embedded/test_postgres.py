"""The embedded PostgreSQL, with real processes: every way in, every way out, and what is left behind."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import asyncpg
import pytest

from binance_proxy.adapters.embedded import cluster, postgres, process
from binance_proxy.adapters.embedded.postgres import open_postgres
from binance_proxy.application.ports import StoreRejected, StoreUnavailable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc, kills parents")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become other users")

PATIENCE_S = 60.0
NOBODY = 65534
READ_SEARCH_ONLY = 1 << 2

OWNER = """
import asyncio, ctypes, os, signal, sys
from pathlib import Path
from binance_proxy.adapters.embedded.postgres import open_postgres

async def main():
    told_to_leave = asyncio.Event()
    if "flush" in sys.argv:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, told_to_leave.set)
    attach = "alone" not in sys.argv
    async with open_postgres(Path(os.environ["FOLDER"]), owner="test owner", attach=attach) as server:
        print(server.url, flush=True)
        await told_to_leave.wait()
        import asyncpg
        connection = await asyncpg.connect(server.url)
        print("flushed", await connection.fetchval("SELECT 42"), flush=True)
        await connection.close()

if "less" in sys.argv:  # what this process execs as root will not have CAP_DAC_READ_SEARCH, as in a container
    assert ctypes.CDLL(None).prctl(24, 2, 0, 0, 0) == 0
if "uvloop" in sys.argv:
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@contextlib.contextmanager
def owner(
    folder: Path, *words: str, uid: int | None = None, python: str = sys.executable, path: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Run OWNER as a child, gone at the end. Its words do not name the folder, for `living`'s sake."""
    environment = os.environ | {"FOLDER": str(folder)}
    if path:
        environment["PYTHONPATH"] = os.pathsep.join(path)
    child = subprocess.Popen(
        [python, "-c", OWNER, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        start_new_session=True,
        user=uid,
        group=uid,
        extra_groups=None if uid is None else [],
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def url_of(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    url = child.stdout.readline().strip()
    assert url.startswith("postgresql://"), child.communicate()[1]
    return url


def living(folder: Path) -> list[int]:
    """Find every process at work in the folder: by its words or, if it retitled itself, by where it is."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
                with contextlib.suppress(PermissionError):
                    words += str((entry / "cwd").readlink())
                if str(folder) in words:
                    found.append(int(entry.name))
    return found


def seen_in(folder: Path, pattern: str) -> bool:
    return any(folder.glob(pattern))


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def postmaster_pid(folder: Path) -> int:
    running = cluster.read_postmaster(cluster.Place(folder))
    assert running is not None
    return running.pid


def user_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def capabilities(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("CapEff:")[2].split()[0], 16)


async def ask(url: str, *statements: str) -> object:
    connection = await asyncpg.connect(url)
    answer: object = None
    try:
        for statement in statements:
            answer = await connection.fetchval(statement)
    finally:
        await connection.close()
    return answer


async def start_again(folder: Path) -> None:
    async with open_postgres(folder, owner="test") as server:
        assert await ask(server.url, "SELECT 1") == 1


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder below pytest's own of mode 0700: as root, every test here is one below a closed folder."""
    yield tmp_path / "var" / "postgres"
    wait_until(lambda: not living(tmp_path))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)
        wait_until(lambda: not living(Path(made)))


async def test_data_and_address_are_the_same_at_the_next_start(folder: Path) -> None:
    async with open_postgres(folder, owner="test") as first:
        await ask(first.url, "CREATE TABLE t AS SELECT 42 AS n")
    assert not living(folder)
    async with open_postgres(folder, owner="test") as second:
        assert await ask(second.url, "SELECT n FROM t") == 42
        assert second.url == first.url
        assert (second.bin / "psql").exists()
        assert second.password not in repr(second)


async def test_it_listens_on_loopback_only_wants_its_password_and_is_durable(folder: Path) -> None:
    async with open_postgres(folder, owner="test") as server:
        for name, value in {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "TimeZone": "UTC",
            "jit": "off",
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "data_checksums": "on",
        }.items():
            assert await ask(server.url, f"SHOW {name}") == value
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ask(server.url.replace(server.password, "guess"), "SELECT 1")
    assert (folder / "password").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_kill_9_of_the_owner_leaves_no_process_and_loses_no_row(folder: Path, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with owner(folder, loop) as child:
        await ask(url_of(child), "CREATE TABLE t AS SELECT 42 AS n")
        assert len(living(folder)) > 3
        child.kill()
        wait_until(lambda: not living(folder))
    async with open_postgres(folder, owner="test") as server:
        assert await ask(server.url, "SELECT n FROM t") == 42
    assert "automatic recovery in progress" in (folder / "server.log").read_text()


@pytest.mark.parametrize(
    "seen", ["initdb-*", "initdb-*/data/PG_VERSION", "initdb-*/data/base/1/PG_VERSION", "data"]
)
async def test_kill_9_in_the_middle_of_the_first_start(folder: Path, seen: str) -> None:
    with owner(folder) as child:
        wait_until(lambda: seen_in(folder, seen))
        child.kill()
        wait_until(lambda: not living(folder))
    await start_again(folder)
    assert not seen_in(folder, "initdb-*")


async def test_kill_9_of_the_server(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with open_postgres(folder, owner="test") as server:
        await ask(server.url, "CREATE TABLE t AS SELECT 42 AS n")
        os.kill(postmaster_pid(folder), signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE_S
        while "ended by itself" not in caplog.text:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
    async with open_postgres(folder, owner="test") as server:
        assert await ask(server.url, "SELECT n FROM t") == 42


async def test_kill_9_of_owner_and_server_and_start_at_once(folder: Path) -> None:
    with owner(folder) as child:
        await ask(url_of(child), "CREATE TABLE t AS SELECT 42 AS n")
        os.kill(postmaster_pid(folder), signal.SIGKILL)
        child.kill()
        child.wait()
        async with open_postgres(folder, owner="test") as server:
            assert await ask(server.url, "SELECT n FROM t") == 42


async def test_a_second_process_joins_and_leaves_the_server_running(folder: Path) -> None:
    with owner(folder) as child:
        wait_until(lambda: (folder / "lock").exists() and (folder / "lock").read_text())
        # It joins while the first is still making the cluster.
        async with open_postgres(folder, owner="test", wait_s=PATIENCE_S) as joined:
            assert joined.url == url_of(child)
            assert await ask(joined.url, "SELECT 1") == 1
        assert await ask(joined.url, "SELECT 2") == 2


async def test_who_wants_a_server_of_its_own_is_told_who_has_it(folder: Path) -> None:
    with owner(folder) as child:
        url_of(child)
        with pytest.raises(StoreUnavailable, match=rf"test owner \(pid {child.pid}\)"):
            async with open_postgres(folder, owner="test", attach=False, wait_s=0.2):
                pass


async def test_who_wants_a_server_of_its_own_waits_for_the_other_to_end(folder: Path) -> None:
    with owner(folder) as child:
        url_of(child)
        earlier = postmaster_pid(folder)
        asyncio.get_running_loop().call_later(0.5, child.terminate)
        async with open_postgres(folder, owner="test", attach=False, wait_s=PATIENCE_S) as server:
            assert postmaster_pid(folder) != earlier
            assert await ask(server.url, "SELECT 1") == 1


async def test_two_starts_at_once_share_one_server(folder: Path) -> None:
    with owner(folder) as one, owner(folder) as two:
        url = await asyncio.to_thread(url_of, one)
        assert url == await asyncio.to_thread(url_of, two)
        assert await ask(url, "SELECT 1") == 1


async def test_an_orphan_is_replaced(folder: Path, tmp_path: Path) -> None:
    await start_again(folder)
    place = cluster.Place(folder)
    program = cluster.postgres_program()
    with (tmp_path / "orphan.log").open("wb") as output:
        orphan = process.start(
            [program, "-D", place.cluster, "--unix_socket_directories=", f"--port={place.port.read_text()}"],
            account=process.account_for(place.cluster),
            reach=[program, folder],
            output=output.fileno(),
            on_parent_death=signal.SIGQUIT,
        )
    try:
        wait_until(lambda: (running := cluster.read_postmaster(place)) and running.status == "ready")
        await start_again(folder)
        assert orphan.wait(PATIENCE_S) == 0
    finally:
        orphan.kill()
        orphan.wait()


@contextlib.contextmanager
def stranger_of(uid: int) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["sleep", "3600"], user=uid if os.geteuid() == 0 else None)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", disk], check=False).returncode:
        pytest.skip("may not mount a small tmpfs here")
    yield disk
    subprocess.run(["umount", disk], check=True)


async def test_a_stranger_with_the_pid_of_a_dead_server_is_left_alone(folder: Path) -> None:
    async with open_postgres(folder, owner="test"):
        lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
    with stranger_of((folder / "data").stat().st_uid) as stranger:
        (folder / "data" / "postmaster.pid").write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        await start_again(folder)
        assert stranger.poll() is None


async def test_ctrl_c_reaches_the_owner_only_which_can_still_write(folder: Path) -> None:
    with owner(folder, "flush") as child:
        url_of(child)
        os.killpg(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=PATIENCE_S)
        assert out == "flushed 42\n", err
        assert child.returncode == 0
    assert not living(folder)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_no_signal_to_the_owner_leaves_a_process(folder: Path, sign: signal.Signals) -> None:
    with owner(folder) as child:
        url_of(child)
        child.send_signal(sign)
        child.communicate(timeout=PATIENCE_S)
        wait_until(lambda: not living(folder))


async def test_an_exception_in_the_body_leaves_no_process(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_postgres(folder, owner="test"):
            raise ZeroDivisionError
    assert not living(folder)


@pytest.mark.parametrize("after_s", [0.05, 0.2, 0.4, 0.6, 0.8])
async def test_cancelled_at_any_time_it_leaves_no_process(folder: Path, after_s: float) -> None:
    async def stay() -> None:
        async with open_postgres(folder, owner="test"):
            await asyncio.sleep(PATIENCE_S)

    task = asyncio.create_task(stay())
    await asyncio.sleep(after_s)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    wait_until(lambda: not living(folder))
    await start_again(folder)


async def test_cancelled_again_while_stopping_it_leaves_no_process(folder: Path) -> None:
    ready = asyncio.Event()

    async def stay() -> None:
        async with open_postgres(folder, owner="test"):
            ready.set()
            await asyncio.sleep(PATIENCE_S)

    task = asyncio.create_task(stay())
    await ready.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not living(folder)


async def test_a_port_that_another_has_taken_is_given_up(folder: Path) -> None:
    async with open_postgres(folder, owner="test") as first:
        pass
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", first.port))
        other.listen()
        async with open_postgres(folder, owner="test") as second:
            assert second.port != first.port
            assert await ask(second.url, "SELECT 1") == 1


async def test_a_port_that_is_taken_between_asking_and_starting(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        answers = [other.getsockname()[1]]
        really_free = postgres._free_port
        monkeypatch.setattr(
            postgres, "_free_port", lambda port: answers.pop() if answers else really_free(port)
        )
        await start_again(folder)
        assert not answers


async def test_the_log_stays_within_bounds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "LOG_LIMIT_BYTES", 4000)
    async with open_postgres(folder, owner="test") as server:
        for _ in range(60):
            with pytest.raises(asyncpg.DivisionByZeroError):
                await ask(server.url, "SELECT 1/0")
        deadline = time.monotonic() + PATIENCE_S
        while (folder / "server.log").stat().st_size > 4000:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
    assert "division by zero" in (folder / "server.log.1").read_text()


async def test_a_cluster_of_another_version_is_refused_and_kept(folder: Path) -> None:
    await start_again(folder)
    (folder / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(StoreRejected, match=r"made by PostgreSQL 17 .*pg_dump"):
        await start_again(folder)
    (folder / "data" / "PG_VERSION").write_text("18\n")
    await start_again(folder)


async def test_a_server_that_refuses_to_start_is_quoted(folder: Path) -> None:
    await start_again(folder)
    (folder / "data" / "postgresql.conf").write_text("shared_preload_libraries = 'no_such_library'\n")
    with pytest.raises(StoreRejected, match="no_such_library"):
        await start_again(folder)
    assert not living(folder)


async def test_a_lost_password_file_is_named(folder: Path) -> None:
    await start_again(folder)
    (folder / "password").unlink()
    with pytest.raises(StoreRejected, match="password is missing"):
        await start_again(folder)


async def test_a_folder_that_holds_something_else_is_kept(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "diary.txt").write_text("dear")
    with pytest.raises(StoreRejected):
        await start_again(folder)
    assert (folder / "data" / "diary.txt").read_text() == "dear"


async def test_without_the_wheel_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "WHEEL", "no_such_wheel")
    with pytest.raises(StoreRejected, match="`embedded` extra"):
        await start_again(folder)


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreRejected, match="file"):
        await start_again(tmp_path / "file" / "postgres")


@as_root
async def test_a_full_disk_is_named(small_disk: Path) -> None:
    with pytest.raises(StoreUnavailable, match=f"disk of {small_disk} is full"):
        await start_again(small_disk)
    assert not living(small_disk)


@as_root
async def test_as_root_in_an_open_folder_the_server_keeps_no_capability(open_folder: Path) -> None:
    async with open_postgres(open_folder / "postgres", owner="test") as server:
        pid = postmaster_pid(open_folder / "postgres")
        assert capabilities(pid) == 0 or not _everybody_can_reach(cluster.postgres_program())
        assert user_of(pid) != 0
        assert await ask(server.url, "SELECT 1") == 1


@as_root
async def test_as_root_below_a_closed_folder_it_keeps_the_one_that_reads(folder: Path) -> None:
    async with open_postgres(folder, owner="test") as server:
        folder.parents[1].chmod(0o700)
        pid = postmaster_pid(folder)
        assert capabilities(pid) == READ_SEARCH_ONLY
        assert user_of(pid) != 0
        assert await ask(server.url, "SELECT 1") == 1
        await ask(server.url, "CREATE EXTENSION vector")  # a library below the wheel, found by a backend
    assert mode_of(folder.parents[1]) == 0o700


@pytest.fixture
def closed_packages(tmp_path: Path) -> Path:
    """A copy of the wheel, as a checkout below root's home would have it."""
    packages = tmp_path / "packages"
    wheel = cluster.postgres_program().parents[2]
    for tree in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        if tree.exists():
            shutil.copytree(tree, packages / tree.name, symlinks=True)
    packages.chmod(0o700)
    return packages


@as_root
@pytest.mark.parametrize(
    ("word", "kept", "copied"),
    [("", READ_SEARCH_ONLY, 0), ("less", 0, 1)],
    ids=["capability", "copy"],
)
async def test_as_root_with_the_wheel_below_a_closed_folder(
    open_folder: Path, closed_packages: Path, word: str, kept: int, copied: int
) -> None:
    with owner(open_folder / "postgres", word, path=[str(closed_packages)]) as child:
        await ask(url_of(child), "CREATE EXTENSION vector")  # a library below the wheel, found by a backend
        assert capabilities(postmaster_pid(open_folder / "postgres")) == kept
        child.kill()
        wait_until(lambda: not living(open_folder))
    assert len(list((open_folder / "postgres").glob("binaries-*"))) == copied


@as_root
async def test_as_root_with_wheel_and_folder_below_closed_folders(
    folder: Path, closed_packages: Path
) -> None:
    with owner(folder, path=[str(closed_packages)]) as child:
        assert await ask(url_of(child), "SELECT 1") == 1
        child.kill()
        wait_until(lambda: not living(folder))
    assert mode_of(closed_packages) == 0o700


@as_root
async def test_as_root_a_closed_folder_without_the_capability_is_named(folder: Path) -> None:
    with owner(folder, "less") as child:
        _, err = child.communicate(timeout=PATIENCE_S)
    assert f"cannot enter {folder}" in err


@as_root
async def test_as_an_ordinary_user(open_folder: Path) -> None:
    folder = open_folder / "home"
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)
    with _owner_as_nobody(folder / "postgres") as child:
        await ask(url_of(child), "CREATE TABLE t AS SELECT 42 AS n")
        assert capabilities(postmaster_pid(folder / "postgres")) == 0
        child.kill()
        wait_until(lambda: not living(folder))
    async with open_postgres(folder / "postgres", owner="test") as server:  # root in a user's folder
        assert await ask(server.url, "SELECT n FROM t") == 42
        assert user_of(postmaster_pid(folder / "postgres")) == NOBODY
    assert {path.stat().st_uid for path in (folder / "postgres").iterdir()} == {NOBODY}
    with _owner_as_nobody(folder / "postgres") as child:  # and the user again
        assert await ask(url_of(child), "SELECT n FROM t") == 42


@as_root
async def test_an_ordinary_user_is_told_of_a_folder_it_may_not_write(open_folder: Path) -> None:
    with _owner_as_nobody(open_folder / "postgres") as child:
        _, err = child.communicate(timeout=PATIENCE_S)
    assert (
        f"StoreRejected: The embedded PostgreSQL cannot use {open_folder / 'postgres'} (Permission denied)"
        in err
    )


@as_root
async def test_an_ordinary_user_is_told_of_a_cluster_of_another_user(open_folder: Path) -> None:
    await start_again(open_folder / "postgres")
    with _owner_as_nobody(open_folder / "postgres") as child:
        _, err = child.communicate(timeout=PATIENCE_S)
    assert "StoreRejected" in err


@contextlib.contextmanager
def _owner_as_nobody(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run OWNER as nobody, with this interpreter or, if that is closed to nobody, the system's like it."""
    system = shutil.which(f"python{sys.version_info.major}.{sys.version_info.minor}", path="/usr/bin")
    for python in filter(None, (sys.executable, system)):
        path = [entry for entry in sys.path if entry and _everybody_can_reach(Path(entry))]
        if _everybody_can_reach(Path(python).resolve()):
            with owner(folder, uid=NOBODY, python=python, path=path) as child:
                yield child
            return
    pytest.skip(f"an ordinary user cannot reach {sys.executable}")


def _everybody_can_reach(path: Path) -> bool:
    return path.exists() and all(above.stat().st_mode & 0o001 for above in (path, *path.parents))

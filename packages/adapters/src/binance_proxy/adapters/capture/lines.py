"""Capture files: lines of ``<receipt ns> <raw JSON>``, gzip or plain."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from binance_proxy.application.ports import FeedRejected
from binance_proxy.domain.scale import INT64_MAX
from binance_proxy.domain.tick import BadFrame

GZIP_MAGIC = b"\x1f\x8b"


class Line(NamedTuple):
    """One raw frame, and where it stands."""

    ts_recv: int
    """Receipt time that the recorder wrote, in ns."""
    raw: bytes
    path: Path
    number: int
    """From 1."""

    @property
    def where(self) -> str:
        """Name the place for a person."""
        return f"{self.path.name} line {self.number}"


def read_lines(path: Path) -> Iterator[Line | BadFrame]:
    """Yield the lines of one file in order; what cannot be read is a `BadFrame`, and reading goes on.

    Raises:
        FeedRejected: The file cannot be opened.
    """
    number = ts_recv = 0
    try:
        opened = path.open("rb")
    except OSError as error:
        raise FeedRejected(f"cannot read the capture {path}: {error.strerror}") from error
    with opened:
        try:
            zipped = opened.read(2) == GZIP_MAGIC
            opened.seek(0)
            for line in gzip.GzipFile(fileobj=opened) if zipped else opened:
                number += 1
                stamp, _, raw = line.partition(b" ")
                if stamp.isdigit() and len(stamp) <= 19 and int(stamp) <= INT64_MAX and raw:
                    ts_recv = int(stamp)
                    yield Line(ts_recv, raw, path, number)
                elif line.strip():
                    yield _bad("broken line", path, number, "it does not begin with a receipt time", ts_recv)
            if number == 0:
                yield _bad("empty file", path, 0, "there is nothing in it", ts_recv)
        except EOFError:
            yield _bad("truncated gzip", path, number + 1, "the file ends in the middle", ts_recv)
        except (OSError, zlib.error) as error:
            yield _bad("broken gzip", path, number + 1, f"what follows cannot be read: {error}", ts_recv)


def _bad(kind: str, path: Path, number: int, detail: str, ts_recv: int) -> BadFrame:
    return BadFrame(kind=kind, where=f"{path.name} line {number}", detail=detail, ts_recv=ts_recv)

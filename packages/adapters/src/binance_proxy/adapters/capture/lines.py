"""Capture files: lines of ``<receipt ns> <raw JSON>``, gzip or plain."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from binance_proxy.adapters.capture.soundness import GZIP_MAGIC, SOUND, Soundness
from binance_proxy.application.ports import FeedRejected
from binance_proxy.domain.scale import INT64_MAX
from binance_proxy.domain.tick import BadFrame

LONGEST_LINE = 64 * 2**20
"""Bytes; what is longer is no frame, and is read in pieces that are broken lines."""


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


def read_lines(path: Path, soundness: Soundness = SOUND) -> Iterator[Line | BadFrame]:
    """Yield the lines of one file in order, as far as it is sound.

    What cannot be read is a `BadFrame`, and reading goes on.

    Raises:
        FeedRejected: The file cannot be opened.
    """
    number = ts_recv = read = 0
    try:
        opened = path.open("rb")
    except OSError as error:
        raise FeedRejected(f"cannot read the capture {path}: {error.strerror}") from error
    with opened:
        try:
            zipped = opened.read(2) == GZIP_MAGIC
            opened.seek(0)
            source = gzip.GzipFile(fileobj=opened) if zipped else opened
            while soundness.limit is None or read < soundness.limit:
                line = source.readline(LONGEST_LINE)
                if not line:
                    break
                number += 1
                read += len(line)
                stamp, _, raw = line.partition(b" ")
                if stamp.isdigit() and len(stamp) <= 19 and int(stamp) <= INT64_MAX and raw:
                    ts_recv = int(stamp)
                    yield Line(ts_recv, raw, path, number)
                elif line.strip():
                    yield _bad("broken line", path, number, "it does not begin with a receipt time", ts_recv)
            if soundness.limit is not None:
                yield _bad(soundness.kind, path, number + 1, soundness.detail, ts_recv)
            elif number == 0:
                yield _bad("empty file", path, 0, "there is nothing in it", ts_recv)
        except EOFError:
            yield _bad("truncated gzip", path, number + 1, "the file ends in the middle", ts_recv)
        except (OSError, zlib.error) as error:
            yield _bad("unreadable file", path, number + 1, f"reading ends here: {error}", ts_recv)


def _bad(kind: str, path: Path, number: int, detail: str, ts_recv: int) -> BadFrame:
    return BadFrame(kind=kind, where=f"{path.name} line {number}", detail=detail, ts_recv=ts_recv)

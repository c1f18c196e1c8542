"""Which part of a capture file may be believed.

A gzip file carries a checksum behind its content. By the time that a reader finds it wrong, the wrong content
has been read. So a file is read twice: first for its checksums, then to be played.
"""

import zlib
from pathlib import Path
from typing import NamedTuple

GZIP_MAGIC = b"\x1f\x8b"
_GZIP = 16 + zlib.MAX_WBITS
_CHUNK = 2**20


class Soundness(NamedTuple):
    """How much of a file may be played, and what is wrong with the rest."""

    limit: int | None
    """Bytes of content, unpacked, before the damage; `None` if there is none."""
    kind: str = ""
    detail: str = ""


SOUND = Soundness(None)


def check(path: Path) -> Soundness:
    """Read a whole file and compare its checksums.

    A file that only ends too early is sound as far as it goes. One without gzip has no checksum.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as packed:
        data = packed.read(_CHUNK)
        if not data.startswith(GZIP_MAGIC):
            return SOUND
        unpack, begins = zlib.decompressobj(_GZIP), data
        before = within = 0
        while data:
            try:
                within += len(unpack.decompress(data))
            except zlib.error as error:
                if before and not begins.startswith(GZIP_MAGIC):
                    return Soundness(before, "broken gzip", "what lies behind the content is no gzip")
                return Soundness(before, "damaged gzip", f"it is not played from here on: {error}")
            if unpack.eof:
                before, within = before + within, 0
                data = unpack.unused_data.lstrip(b"\0") or packed.read(_CHUNK)  # zeros are padding
                unpack, begins = zlib.decompressobj(_GZIP), data
            else:
                data = packed.read(_CHUNK)
    return SOUND

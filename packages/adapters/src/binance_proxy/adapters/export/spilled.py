"""Rows that wait in a file until their order is known."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

AT_ONCE = 65_536
"""Rows that are held as Python objects at most."""


class Spilled:
    """Rows of numbers, written to a file as they come and read from there in any order."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        """Begin an empty file."""
        self._dtype, self._path = dtype, path
        self._file = path.open("wb")
        self._rows: list[tuple[float, ...]] = []

    def add(self, *row: float) -> None:
        """Take a row."""
        self._rows.append(row)
        if len(self._rows) == AT_ONCE:
            self._flush()

    def finish(self) -> npt.NDArray[Any]:
        """Return all rows, which stay in the file."""
        self._flush()
        self._file.close()
        if not self._path.stat().st_size:  # an empty file cannot be mapped
            return np.empty(0, self._dtype)
        return np.memmap(self._path, self._dtype, mode="r")

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _flush(self) -> None:
        np.array(self._rows, self._dtype).tofile(self._file)
        self._rows.clear()

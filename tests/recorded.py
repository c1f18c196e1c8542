"""Where recorded market data lies, and how a test gets at it: by name, or it is skipped and says why.

The data is not part of the repository. It is looked for in ``../shared/data`` beside the checkout, or in the
folder that ``BINANCE_PROXY_TEST_DATA`` names.
"""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ.get("BINANCE_PROXY_TEST_DATA") or ROOT / "../shared/data")


def recorded(*names: str) -> list[Path]:
    """Return the named files, such as ``klines/x.csv``, in that order; skip the test if one is missing."""
    missing = [name for name in names if not (FOLDER / name).is_file()]
    if missing:
        pytest.skip(
            f"no recorded {', '.join(missing)}: expected in ../shared/data or in $BINANCE_PROXY_TEST_DATA"
        )
    return [FOLDER / name for name in names]


def captures(*names: str) -> list[Path]:
    """Return the named captures, such as ``spot_btcusdt_20240808.gz``; skip the test if one is missing."""
    return recorded(*(f"captures/{name}" for name in names))


def frames(*paths: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield receipt time (ns) and JSON value of every line of these captures, file after file."""
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                ts_recv, _, text = line.partition(" ")
                yield int(ts_recv), json.loads(text)

"""Whole units as the 128-bit decimals of Arrow, exactly."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from binance_proxy.application.ports import ExportRejected


def decimals(
    units: Sequence[int | None] | npt.NDArray[np.int64], precision: int, places: int
) -> "pa.Decimal128Array":
    """Return units of ``10**-precision`` as ``DECIMAL(38, places)``.

    Raises:
        ExportRejected: A value has more decimals than that.
    """
    plain = pa.array(units, pa.int64())
    low = plain.fill_null(0).to_numpy(zero_copy_only=False)
    words = np.empty((len(low), 2), np.int64)
    words[:, 0], words[:, 1] = low, low >> 63  # the sign fills the upper half
    column = pa.Array.from_buffers(
        pa.decimal128(38, precision),
        len(low),
        [plain.is_valid().buffers()[1] if plain.null_count else None, pa.py_buffer(words.tobytes())],
    )
    try:
        return column.cast(pa.decimal128(38, places))
    except pa.ArrowInvalid as error:
        raise ExportRejected(
            f"a value has more than the {places} decimals of this format: export as csv, which has them all"
        ) from error

"""A checksum of values: the same for the same rows, however they are packed into row groups and pages."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from pyarrow import compute

from binance_proxy.adapters.parquet.columns import decimal_words

Buffer: TypeAlias = "bytes | pa.Buffer | np.ndarray[Any, Any]"


class Checksum:
    """Takes the rows of a file, a part at a time and in order."""

    def __init__(self) -> None:
        self._leaves: dict[
            str, Any
        ] = {}  # one digest for each column of plain values, so that parts do not show

    def take(self, part: pa.RecordBatch) -> None:
        """Learn of the next rows, a record batch."""
        for name, column in zip(part.schema.names, part.columns, strict=True):
            for leaf, packed in _leaves(name, column):
                self._leaves.setdefault(leaf, blake2b(digest_size=16)).update(packed)

    def __str__(self) -> str:
        """Return the checksum of all rows so far: ``blake2b:`` and 32 hexadecimal digits."""
        whole = blake2b(digest_size=16)
        for leaf in sorted(self._leaves):
            whole.update(f"{leaf}:{self._leaves[leaf].hexdigest()};".encode())
        return f"blake2b:{whole.hexdigest()}"


def _leaves(name: str, column: pa.Array) -> Iterator[tuple[str, Buffer]]:
    """Take a column apart into plain values, whose bytes do not depend on offsets or padding."""
    kind = column.type
    if pa.types.is_list(kind):
        yield f"{name}.lengths", column.value_lengths().to_numpy(zero_copy_only=False).tobytes()
        yield from _leaves(f"{name}[]", column.flatten())
    elif pa.types.is_struct(kind):
        for number, inner in enumerate(column.flatten()):
            yield from _leaves(f"{name}.{kind.field(number).name}", inner)
    elif pa.types.is_string(kind):
        lines = compute.binary_join_element_wise(column, "", "\n")
        _, offsets, texts = lines.buffers()
        first, *_, behind = np.frombuffer(offsets, np.int32)[lines.offset : lines.offset + len(lines) + 1]
        yield name, texts[first:behind]
    elif pa.types.is_decimal(kind):
        yield name, np.ascontiguousarray(decimal_words(column))
    else:
        if column.null_count:
            yield f"{name}?", column.is_null().cast(pa.int8()).to_numpy(zero_copy_only=False).tobytes()
            column = column.fill_null(0)
        else:
            yield f"{name}?", bytes(len(column))
        ints = column.cast(pa.int8() if pa.types.is_boolean(kind) else pa.int64())
        yield name, np.ascontiguousarray(ints.to_numpy(zero_copy_only=False))

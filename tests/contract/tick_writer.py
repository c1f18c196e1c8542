"""What every `TickWriter` does."""

import contextlib

import pytest

from binance_proxy.application.ports import ExportError, ExportRejected
from ticks_made import ETH, quote, snapshot, stream, trade

TICKS = [trade(1), trade(2, 5), snapshot(1, 1), quote(2, 3, 2), quote(4, 4, 3)]


def files(folder):
    """Everything below a folder, by its path, with what is in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TickWriterContract:
    """A provider has `writer`, a function of a path and `replace`, and `read`, which gives back what
    it wrote: (trade ids, prices and sizes as text) and the number of levels of the book."""

    async def test_what_was_written_can_be_read(self, tmp_path):
        await self.writer(tmp_path / "a").write(ETH, stream(TICKS))
        trades, levels = self.read(tmp_path / "a")
        assert trades == [(1, "3050.12", "1.5"), (2, "3050.12", "1.5")]
        assert levels == self.levels

    async def test_nothing_else_is_left_beside_it(self, tmp_path):
        await self.writer(tmp_path / "a").write(ETH, stream(TICKS))
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    async def test_without_any_event_it_is_readable_and_empty(self, tmp_path):
        await self.writer(tmp_path / "a").write(ETH, stream([]))
        assert self.read(tmp_path / "a") == ([], 0)

    async def test_if_the_stream_fails_there_is_nothing(self, tmp_path):
        async def broken():
            for tick in TICKS:
                yield tick
            raise ExportError("the store is away")

        with pytest.raises(ExportError, match="the store is away"):
            await self.writer(tmp_path / "a").write(ETH, broken())
        assert [*tmp_path.iterdir()] == []

    async def test_if_the_stream_fails_what_was_there_is_there_still(self, tmp_path):
        await self.writer(tmp_path / "a").write(ETH, stream(TICKS))
        before = files(tmp_path)

        async def broken():
            yield trade(9)
            raise ExportError("the store is away")

        with contextlib.suppress(ExportError):
            await self.writer(tmp_path / "a", replace=True).write(ETH, broken())
        assert files(tmp_path) == before

    async def test_what_is_there_is_replaced_only_if_that_is_said(self, tmp_path):
        await self.writer(tmp_path / "a").write(ETH, stream(TICKS))
        before = files(tmp_path)
        with pytest.raises(ExportRejected, match=r"is there already: choose another --to, or .* --force"):
            await self.writer(tmp_path / "a").write(ETH, stream([trade(9)]))
        assert files(tmp_path) == before
        await self.writer(tmp_path / "a", replace=True).write(ETH, stream([trade(9)]))
        assert self.read(tmp_path / "a") == ([(9, "3050.12", "1.5")], 0)

    async def test_a_place_that_cannot_be_written_is_named(self, tmp_path):
        (tmp_path / "file").write_text("not a folder")
        with pytest.raises(ExportError, match=r"file/a cannot be written"):
            await self.writer(tmp_path / "file" / "a").write(ETH, stream(TICKS))
        assert files(tmp_path) == {"file": b"not a folder"}

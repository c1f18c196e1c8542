"""Bulk files are believed only once they are sound, and a fault says in which file and line it is."""

import gzip
import tracemalloc
import zipfile
from contextlib import aclosing
from pathlib import Path

import pytest
from msgspec.structs import replace

from binance_proxy.adapters.files.history import FileHistory
from binance_proxy.adapters.files.names import Kind, bulk_file
from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.application.missing import matches_of
from binance_proxy.application.ports import HistoryRejected
from binance_proxy.domain.instrument import Market
from bulk_files import MS, US, aggregate_rows, candle_rows, checksum, trade_rows, write
from contract.exchange_history import FOREVER, candles_of, past, plain, trades_of
from contract.market_store import ETH

NAME = "ETHUSDT-trades-2024-08-08"
SOME = past(*range(100, 130))
IN_US = replace(ETH, time_resolution_ns=US)


def history(*paths: Path, by_checksum: bool = False) -> FileHistory:
    return FileHistory(paths, ManualClock(5), by_checksum=by_checksum)


async def complaint(*paths: Path, by_checksum: bool = False) -> str:
    with pytest.raises(HistoryRejected) as caught:
        await trades_of(history(*paths, by_checksum=by_checksum), 0, 2**62)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Names


@pytest.mark.parametrize(
    ("name", "code", "kind", "timeframe"),
    [
        ("ETHUSDT-trades-2024-08-08.zip", "ETHUSDT", Kind.TRADES, ""),
        ("1000SATSUSDT-aggTrades-2024-08.csv.gz", "1000SATSUSDT", Kind.AGGREGATED, ""),
        ("ETHUSDT-1m-2024-08-08.csv", "ETHUSDT", Kind.CANDLES, "1m"),
        ("ETHUSDT-1mo-2024-08.zip", "ETHUSDT", Kind.CANDLES, "1mo"),
    ],
)
def test_the_name_says_what_is_in_a_file(name: str, code: str, kind: Kind, timeframe: str) -> None:
    assert bulk_file(Path(name)) == (Path(name), code, kind, timeframe)


@pytest.mark.parametrize(
    "name",
    ["trades.zip", "ETHUSDT-trades.zip", "ethusdt-trades-2024-08-08.zip",
     "ETHUSDT-trades-2024-08-08.zip.CHECKSUM",
     "ETHUSDT-bookDepth-2024-08-08.zip", "ETHUSDT-trades-2024-08-08.parquet"],
)  # fmt: skip
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(HistoryRejected, match="is not named as Binance names its files"):
        bulk_file(Path(name))


async def test_a_file_of_another_pair_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "SOLUSDT-trades-2024-08-08.zip", trade_rows(SOME))
    assert await complaint(file) == "SOLUSDT-trades-2024-08-08.zip is of SOLUSDT, not of ETH/USDT"


@pytest.mark.parametrize("other", [{"venue": "simulated"}, {"market": Market.USDM}])
async def test_files_are_of_binance_spot_only(tmp_path: Path, other: dict[str, object]) -> None:
    file = write(tmp_path / f"{NAME}.zip", trade_rows(SOME))
    with pytest.raises(HistoryRejected, match="spot pairs of Binance"):
        await history(file).ids(replace(ETH, **other), *FOREVER)


# Containers


@pytest.mark.parametrize("ending", ["zip", "csv", "csv.gz"])
async def test_reads_zip_gzip_and_plain_files(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"{NAME}.{ending}"
    if ending == "csv.gz":
        path.write_bytes(gzip.compress("".join(f"{row}\r\n" for row in trade_rows(SOME)).encode()))
    else:
        write(path, trade_rows(SOME))
    assert await trades_of(history(path), 0, 2**62) == plain(SOME)


async def test_a_header_is_passed_over_and_a_last_line_needs_no_end(tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.csv"
    header = "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match"
    path.write_text("\n".join([header, *trade_rows(SOME)]))
    assert await trades_of(history(path), 0, 2**62) == plain(SOME)


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in await complaint(tmp_path / f"{NAME}.zip")
    assert "No such file" in await complaint(tmp_path / f"{NAME}.csv")


@pytest.mark.parametrize("cut", [10, 200, -30])
async def test_a_damaged_zip(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / f"{NAME}.zip", trade_rows(past(*range(2_000))))
    path.write_bytes(path.read_bytes()[:cut])
    assert f"{NAME}.zip is damaged" in await complaint(path)


async def test_a_zip_with_a_flipped_bit_gives_nothing_at_all(tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{NAME}.csv", "".join(f"{row}\n" for row in trade_rows(SOME)))
    raw = path.read_bytes()
    path.write_bytes(
        raw.replace(b",True\n", b",true\n", 1)
    )  # still good rows, but not those that were published
    async with aclosing(history(path).trades(ETH, 0, 2**62)) as pages:
        with pytest.raises(HistoryRejected, match="is damaged: Bad CRC-32"):
            await anext(pages)


async def test_a_cut_gzip(tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.csv.gz"
    path.write_bytes(gzip.compress("".join(f"{row}\n" for row in trade_rows(SOME)).encode())[:-12])
    assert f"{NAME}.csv.gz is damaged" in await complaint(path)
    path.write_bytes(b"not gzip at all")
    assert f"{NAME}.csv.gz is damaged" in await complaint(path)


async def test_a_zip_with_something_else_in_it(tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("SOLUSDT-trades-2024-08-08.csv", "")
    assert await complaint(path) == (
        f"{NAME}.zip should hold {NAME}.csv and nothing else; it holds SOLUSDT-trades-2024-08-08.csv"
    )
    with zipfile.ZipFile(path, "w"):
        pass
    assert "it holds nothing" in await complaint(path)


async def test_an_empty_file(tmp_path: Path) -> None:
    assert await complaint(write(tmp_path / f"{NAME}.csv", [])) == f"there is nothing in {NAME}.csv"


# Checksums


async def test_a_checksum_is_asked_for_and_believed(tmp_path: Path) -> None:
    path = write(tmp_path / f"{NAME}.zip", trade_rows(SOME), with_checksum=False)
    assert "has no ETHUSDT-trades-2024-08-08.zip.CHECKSUM beside it" in await complaint(
        path, by_checksum=True
    )
    checksum(path)
    assert await trades_of(history(path, by_checksum=True), 0, 2**62) == plain(SOME)


async def test_a_wrong_checksum_names_both_sums(tmp_path: Path) -> None:
    path = checksum(write(tmp_path / f"{NAME}.zip", trade_rows(SOME)), "ab" * 32)
    said = await complaint(path, by_checksum=True)
    assert "ab" * 32 in said
    assert len([word for word in said.replace(",", "").split() if len(word) == 64]) == 2


@pytest.mark.parametrize("text", ["", "abc", f"{'a' * 64}  another.zip", "ä" * 70])
async def test_a_checksum_that_is_none(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / f"{NAME}.zip", trade_rows(SOME))
    path.with_name(f"{path.name}.CHECKSUM").write_text(text)
    assert f"{path.name}.CHECKSUM" in await complaint(path, by_checksum=True)


# Rows


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("130,1.5,2,3,1723085400000,True", "such a row of spot has 7 columns, this one has 6"),
        ("", "such a row of spot has 7 columns, this one has 1"),
        ("130,0.00,2,3,1723085400000,True,True", "trade 130 has a price that is not above zero"),
        ("130,1.5,0,3,1723085400000,True,True", "trade 130 has a size that is not above zero"),
        ("130,1.123456789,2,3,1723085400000,True,True", "more than the 8 decimals"),
        ("130,1e3,2,3,1723085400000,True,True", "is not a decimal number"),
        ("130,nan,2,3,1723085400000,True,True", "is not a decimal number"),
        ("130,1.5,2,3,1723085400000,maybe,True", "'maybe' is neither True nor False"),
        ("x,1.5,2,3,1723085400000,True,True", "column 1 should be a whole number, and is 'x'"),
        ("-5,1.5,2,3,1723085400000,True,True", "column 1 should be a whole number, and is '-5'"),
        ("130,1.5,2,3,soon,True,True", "column 5 should be a whole number, and is 'soon'"),
        ("130,1.5,2,3,0,True,True", "time 0 lies before or behind all trading"),
        ("130,1.5,2,3,9223372036854775807,True,True", "lies before or behind all trading"),
        ("129,1.5,2,3,1723085400000,True,True", "its ids do not lie behind those of the line before it"),
        ("é" * 3_000, "columns"),
    ],
)  # fmt: skip
async def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: str, says: str) -> None:
    rows = trade_rows(SOME)
    file = write(tmp_path / f"{NAME}.zip", [*rows, row, "131,1.5,2,3,1723085400000,True,True"])
    said = await complaint(file)
    assert said.startswith(f"{NAME}.zip line 31: ")
    assert says in said


async def test_a_first_line_that_is_neither_row_nor_header(tmp_path: Path) -> None:
    file = write(tmp_path / f"{NAME}.csv", ["\x00\x01garbage!", *trade_rows(SOME)])
    assert f"{NAME}.csv line 1: it does not begin with a number" in await complaint(file)


async def test_candles_that_begin_between_two_periods_are_refused(tmp_path: Path) -> None:
    rows = candle_rows(past(*range(5_000, 6_000)))
    first, _, rest = rows[3].partition(",")
    file = write(tmp_path / "ETHUSDT-1m-2024-08-08.zip", [*rows[:3], f"{int(first) + 1},{rest}"])
    with pytest.raises(HistoryRejected, match=r"line 4: no 1m candle begins at"):
        await candles_of(history(file))


# Units of time


async def test_times_are_told_by_their_magnitude_row_by_row(tmp_path: Path) -> None:
    rows = [*trade_rows(SOME[:10], MS), *trade_rows(SOME[10:], US)]
    file = write(tmp_path / f"{NAME}.zip", rows)
    assert await trades_of(history(file), 0, 2**62) == plain(SOME)
    assert await history(file).time_resolution_ns() == MS
    with pytest.raises(HistoryRejected, match="has times in ms, and binance"):
        await history(file).ids(IN_US, *FOREVER)


async def test_microseconds_are_kept_or_truncated_as_the_instrument_is_recorded(tmp_path: Path) -> None:
    late = [replace(one, instrument=IN_US, ts_event=one.ts_event + 999 * US) for one in SOME]
    file = write(tmp_path / f"{NAME}.zip", trade_rows(late, US))
    assert await history(file).time_resolution_ns() == US
    assert await trades_of(history(file), 0, 2**62, IN_US) == plain(late)
    assert await trades_of(history(file), 0, 2**62) == plain(SOME)
    exact = (SOME[0].ts_event + 999 * US, SOME[0].ts_event + 1_000 * US)
    assert await history(file).ids(IN_US, *exact) == (100, 101)
    assert await history(file).ids(ETH, *exact) is None


# Several files


async def test_single_trades_go_before_aggregated_ones_of_the_same_ids(tmp_path: Path) -> None:
    everything = past(*range(102, 1_002))
    days = [
        write(tmp_path / "ETHUSDT-trades-2024-08-08.zip", trade_rows(everything[301:600])),
        write(tmp_path / "ETHUSDT-aggTrades-2024-08.zip", aggregate_rows(everything)),
    ]
    found = await trades_of(history(*days), 0, 2**62)
    assert [one.trade_id for one in found if one.first_match_id is None] == list(range(403, 702))
    # An aggregated trade that reaches into the single ones would be counted twice, so it is left out.
    covered = [id_ for one in found for id_ in range(matches_of(one)[0], matches_of(one)[1] + 1)]
    assert covered == [id_ for id_ in range(102, 1_002) if id_ != 402]


async def test_what_stands_in_two_files_comes_once(tmp_path: Path) -> None:
    files = [
        write(tmp_path / "ETHUSDT-trades-2024-08-08.zip", trade_rows(SOME[:20])),
        write(tmp_path / "ETHUSDT-trades-2024-08.zip", trade_rows(SOME[5:])),
        write(tmp_path / "ETHUSDT-aggTrades-2024-08-08.zip", aggregate_rows(SOME)),
    ]
    assert await trades_of(history(*files), 0, 2**62) == plain(SOME)
    assert await history(*files).ids(ETH, *FOREVER) == (100, 129)
    long = past(*range(5_000, 6_000))
    twice = [
        write(tmp_path / "ETHUSDT-1m-2024-08-08.zip", candle_rows(long)[:6]),
        write(tmp_path / "ETHUSDT-1m-2024-08.zip", candle_rows(long)[3:]),
    ]
    starts = [one.start for one in await candles_of(history(*twice))]
    assert starts == sorted(set(starts))
    assert len(starts) == len(candle_rows(long))


async def test_candles_need_a_file_of_theirs(tmp_path: Path) -> None:
    file = write(tmp_path / "ETHUSDT-1m-2024-08.zip", candle_rows(past(*range(5_000, 6_000))))
    with pytest.raises(HistoryRejected, match="none of the files holds 5m candles of ETH/USDT"):
        await candles_of(history(file), timeframe="5m")


# Size


async def test_a_hole_far_back_in_a_file_is_found_by_its_mark(tmp_path: Path) -> None:
    everything = past(*range(1, 25_001))
    has = history(write(tmp_path / f"{NAME}.zip", trade_rows(everything)))
    for first, last in ((24_990, 24_999), (10_000, 10_001), (1, 2), (20_000, 20_001)):
        assert await trades_of(has, first, last) == plain(everything[first - 1 : last])


async def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    async def peak(count: int) -> int:
        rows = (f"{id_},1.5,2,3,{1_723_085_400_000 + id_},True,True" for id_ in range(count))
        has = history(write(tmp_path / f"{NAME}.zip", rows))
        tracemalloc.start()
        async with aclosing(has.trades(ETH, 0, 2**62)) as pages:
            assert max([len(page) async for page in pages]) == 5_000
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert await peak(50_000) < 1.2 * await peak(20_000)

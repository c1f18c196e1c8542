"""Candles in files of anybody's: how long they are is told by what is in them; broken ones are named."""

import gzip
import zipfile
from contextlib import aclosing
from pathlib import Path

import pytest

from binance_proxy.adapters.files.klines import kline_file
from binance_proxy.application.ports import HistoryRejected
from binance_proxy.domain.instrument import Instrument, Market
from recorded import recorded

BTC = Instrument(venue="binance", market=Market.SPOT, symbol="BTC/USDT")
START = 1_723_161_300_000  # 2024-08-08 23:55 UTC, in ms
MINUTE = 60_000
UNIT = 10**8


def binance(number: int, length: int = MINUTE, unit: int = 1) -> str:
    opens = (START + number * length) * unit
    return f"{opens},1.5,3,1,2,10.25,{opens + length * unit - 1},20.5,7,1,1,0"


def write(path: Path, *lines: str) -> Path:
    text = "".join(f"{line}\n" for line in lines)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{path.stem}.csv", text)
    else:
        path.write_text(text)
    return path


async def read(path: Path) -> tuple[str, list]:
    file = await kline_file(path, BTC)
    async with aclosing(file.candles().pages) as pages:
        return file.timeframe.name, [candle async for page in pages for candle in page]


@pytest.mark.parametrize("name", ["x.csv", "any name.csv.gz", "BTCUSDT.zip"])
@pytest.mark.parametrize("unit", [1, 1_000], ids=["ms", "µs"])
async def test_binances_columns_need_no_header_and_no_name(tmp_path, name, unit):
    timeframe, (one, other) = await read(write(tmp_path / name, binance(0, unit=unit), binance(1, unit=unit)))
    assert timeframe == "1m"
    assert (one.start, one.end, other.start) == (START * 10**6, (START + MINUTE) * 10**6, one.end)
    assert (one.open, one.high, one.low, one.close) == (1.5 * UNIT, 3 * UNIT, UNIT, 2 * UNIT)
    assert (one.volume, one.quote_volume, one.trades) == (10.25 * UNIT, 20.5 * UNIT**2, 7)


@pytest.mark.parametrize(
    ("length", "name"),
    [(1_000, "1s"), (180_000, "3m"), (300_000, "5m"), (3_600_000, "1h")],
)
async def test_one_candle_is_enough_if_it_says_when_it_closes(tmp_path, length, name):
    opens = START - START % length
    row = f"{opens},1,1,1,1,1,{opens + length - 1},1,1,0,0,0"
    assert (await read(write(tmp_path / "x.csv", row)))[0] == name


@pytest.mark.parametrize(
    "lines",
    [
        ("open_time_ms,date,open,high,low,close,volume", f"{START},x,1,1,1,1,1",
         f"{START + 300_000},x,1,1,1,1,1"),
        ('"date","open","high","low","close","volume"', "2024-08-08 23:55:00.000000000Z,1,1,1,1,1",
         "2024-08-09T00:00:00+00:00,1,1,1,1,1"),
        ("Timestamp,Open,High,Low,Close,Volume", f"{START // 1000},1,1,1,1,1",
         f"{START // 1000 + 300},1,1,1,1,1"),
    ],
    ids=["ms", "dates", "seconds"],
)  # fmt: skip
async def test_a_header_says_what_stands_where(tmp_path, lines):
    timeframe, candles = await read(write(tmp_path / "x.csv", *lines))
    assert timeframe == "5m"
    assert [one.start for one in candles] == [START * 10**6, (START + 300_000) * 10**6]
    assert {(one.quote_volume, one.trades) for one in candles} == {(None, None)}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("a,b,c", "1,2,3"), "no column open_time"),
        (("1,2,3",), "no column"),
        ((), "no column|no candle"),
        (("open_time,open,high,low,close,volume",), "no candle in"),
        (("open_time,open,high,low,close,volume", f"{START},1,1,1,1,1"), "how long"),
        ((binance(0), "1,2"), "line 2.*only 2 columns"),
        ((binance(1), binance(0)), "line 2.*not begin behind"),
        ((binance(0), binance(0).replace("1.5", "abc")), "line 2.*abc"),
        ((binance(0), binance(1).replace("1.5", "1.123456789")), "line 2.*decimals"),
        ((f"{START + 7},1,1,1,1,1,{START + 60_006},1,1,0,0,0",), "line 1: no 1m candle begins"),
        (("\x00" * 3_000,), "no table of candles"),
    ],
)  # fmt: skip
async def test_a_file_that_is_no_table_of_candles_is_named(tmp_path, lines, said):
    with pytest.raises(HistoryRejected, match=f"(?s)x.csv.*({said})|({said}).*x.csv"):
        await read(write(tmp_path / "x.csv", *lines))


async def test_a_file_cut_in_half_or_absent_is_named(tmp_path):
    whole = write(tmp_path / "x.csv.gz", *(binance(number) for number in range(500)))
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    for path in (whole, tmp_path / "none.csv"):
        with pytest.raises(HistoryRejected, match=path.name):
            await read(path)


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "timeframe"),
    [
        ("spot_btcusdt_5m_20240808.csv", "5m"),
        ("usdm_btcusdt_1m_20240718.csv", "1m"),
        ("spot_btcusdt_1m_20240402_07.csv.gz", "1m"),
        ("spot_btcusdt_5m_20240402_07.csv.gz", "5m"),
    ],
)
async def test_recorded_files_are_read(name, timeframe):
    (path,) = recorded(f"klines/{name}")
    found, candles = await read(path)
    assert found == timeframe
    assert len(candles) >= 4

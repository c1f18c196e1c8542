"""What a run says at its beginning: commands that find what is being recorded, as they are to be typed."""

import pytest

from binance_proxy.bridge.load import load_config
from binance_proxy.bridge.run import _way_to_track, _ways_to_look
from binance_proxy.domain.instrument import Instrument, Market

ETH = Instrument(venue="simulated", market=Market.SPOT, symbol="ETH/USDT")
URL = "postgresql://me:secret@127.0.0.1/ticks"


@pytest.mark.parametrize(
    ("settings", "typed_url", "where"),
    [
        ([], None, ""),
        (["data_dir=/srv/ticks"], None, " -o data_dir=/srv/ticks"),
        ([f"store.timescale.url={URL}", "data_dir=/srv/ticks"], None, ""),
        (
            [f"store.timescale.url={URL}", "data_dir=/srv/ticks"],
            "postgresql://me:***@127.0.0.1/ticks",
            " -o store.timescale.url=postgresql://me:***@127.0.0.1/ticks",
        ),
    ],
    ids=["default", "another folder", "another server by a file", "another server as it was typed"],
)
def test_questions_lead_to_the_store_that_is_recorded_into(tmp_path, settings, typed_url, where):
    nothing = tmp_path / "bridge.toml"
    nothing.touch()
    config = load_config(nothing, {}, settings).config
    _, trades, candles = _ways_to_look(config, ETH, typed_url)
    assert trades.endswith(f"bridge trades ETH/USDT{where}")
    assert candles.endswith(f"bridge candles ETH/USDT{where}")
    assert _way_to_track(config, typed_url).endswith(f"bridge pairs add BTC/USDT{where}")

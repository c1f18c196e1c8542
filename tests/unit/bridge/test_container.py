"""What people are told of the parts that are opened."""

import pytest

from binance_proxy.bridge.container import kind_of, place_of


@pytest.mark.parametrize(
    ("timescaledb", "said"),
    [
        (None, "PostgreSQL 127.0.0.1:6432/ticks"),
        ("2.28.3", "PostgreSQL 127.0.0.1:6432/ticks, with TimescaleDB 2.28.3"),
    ],
)
def test_a_store_says_where_it_is_and_what_it_is_beside_a_plain_postgresql(timescaledb, said):
    where = place_of("postgresql://me:secret@127.0.0.1:6432/ticks")
    assert kind_of(where, timescaledb) == said

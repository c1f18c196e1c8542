"""The size of a batch follows what the store shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_proxy.application.batch_size import BatchSize


def settled(seconds, *, most=40_000, least=1_000, rounds=300):
    """Return the sizes that a store of a given cost leads to, with a queue that is never empty."""
    size = BatchSize(least=least, most=most, target_s=1.0)
    sizes = []
    for _ in range(rounds):
        size.took(size.now, seconds(size.now), waiting=10**9)
        sizes.append(size.now)
    return sizes[rounds // 2 :]


def test_it_begins_with_the_largest():
    assert BatchSize(least=10, most=500, target_s=1.0).now == 500


def test_a_fast_store_gets_the_largest():
    assert set(settled(lambda rows: rows / 100_000)) == {40_000}


def test_a_slow_store_gets_what_it_can_take_in_time():
    sizes = settled(lambda rows: rows / 10_000)
    assert all(4_000 <= size <= 13_000 for size in sizes)
    assert sum(size <= 10_000 for size in sizes) > len(sizes) / 2


def test_a_hopeless_store_gets_the_least():
    assert set(settled(lambda rows: rows / 100, least=1_000)) <= {1_000, 3_500}


def test_where_the_size_does_not_matter_it_stays_large():
    sizes = settled(lambda _: 3.0)
    assert min(sizes) >= 10_000, "a small batch over a slow network is the worst of all"


def test_it_grows_only_while_batches_wait():
    size = BatchSize(least=10, most=1_600, target_s=1.0)
    size.took(1_600, 2.0, waiting=0)
    assert size.now == 800
    size.took(800, 0.5, waiting=799)
    assert size.now == 800
    size.took(800, 0.5, waiting=800)
    assert size.now == 900


def test_a_small_batch_that_took_long_says_nothing_about_the_size():
    size = BatchSize(least=10, most=1_600, target_s=1.0)
    size.took(30, 5.0, waiting=0)
    assert size.now == 1_600


@given(
    st.integers(1, 100_000),
    st.integers(1, 100_000),
    st.lists(st.tuples(st.integers(1, 100_000), st.floats(0, 100), st.integers(0, 10**7))),
)
def test_it_never_leaves_its_bounds(least, most, history):
    size = BatchSize(least=least, most=most, target_s=1.0)
    for heavy, seconds, waiting in history:
        size.took(heavy, seconds, waiting=waiting)
        assert min(least, most) <= size.now <= most


@pytest.mark.parametrize("rows_per_s", [5_000, 20_000, 80_000])
def test_throughput_is_near_what_the_store_gives(rows_per_s):
    sizes = settled(lambda rows: 0.05 + rows / rows_per_s)
    taken = sum(sizes) / sum(0.05 + size / rows_per_s for size in sizes)
    assert taken > 0.85 * rows_per_s

"""What is packed comes back as it was; what is not a batch is refused."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_proxy.adapters.spool.packing import checksum, pack, unpack
from binance_proxy.domain.gap import GapState
from binance_proxy.domain.instrument import Stream
from binance_proxy.domain.tick import Side
from contract.market_store import ETH, SOL, gap, quote, snapshot, trade

INT64 = st.integers(-(2**63), 2**64 - 1)
LEVELS = st.lists(st.tuples(INT64, INT64), max_size=5).map(tuple)
INSTRUMENTS = st.sampled_from([ETH, SOL])
EVENTS = st.one_of(
    st.builds(
        trade,
        INT64,
        instrument=INSTRUMENTS,
        ts_event=INT64,
        ts_recv=INT64,
        price=INT64,
        size=INT64,
        aggressor=st.sampled_from(Side),
        first_match_id=st.none() | INT64,
        last_match_id=st.none() | INT64,
        off_book=st.booleans(),
    ),
    st.builds(
        quote,
        st.just(1),
        instrument=INSTRUMENTS,
        last_update_id=INT64,
        previous_update_id=st.none() | INT64,
        bids=LEVELS,
        asks=LEVELS,
    ),
    st.builds(snapshot, st.just(1), instrument=INSTRUMENTS, last_update_id=INT64, bids=LEVELS, asks=LEVELS),
    st.builds(
        gap,
        st.just(1),
        instrument=INSTRUMENTS,
        last_id=INT64,
        stream=st.sampled_from(Stream),
        state=st.sampled_from(GapState),
    ),
)


@given(st.lists(EVENTS, max_size=20))
def test_events_come_back_by_kind_and_as_they_were(events):
    found = unpack(pack(events))
    kinds = {type(event) for event in events}
    assert len(found) == len(events)
    for kind in kinds:
        assert [one for one in found if type(one) is kind] == [one for one in events if type(one) is kind]


def test_an_instrument_is_written_once_in_a_batch():
    many, few = (len(pack([trade(number) for number in range(count)])) for count in (1_000, 100))
    assert (many - few) / 900 < 50, "bytes a trade"


def test_a_number_over_64_bits_is_no_event_to_pack():
    with pytest.raises(OverflowError):
        pack([trade(1), trade(2, price=2**64)])


@given(st.binary(max_size=60))
def test_other_bytes_are_refused(noise):
    with pytest.raises(ValueError, match="does not hold events"):
        unpack(b"\xc1" + noise)


def test_bytes_that_were_changed_are_refused_or_another_batch_and_the_checksum_tells():
    rng = random.Random(3)
    payload = pack([trade(1), quote(1), snapshot(1), gap(1)])
    proof = checksum(1, 2, 4, payload)
    for _ in range(3_000):
        broken = bytearray(payload)
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        assert checksum(1, 2, 4, bytes(broken)) != proof
        try:
            unpack(bytes(broken))
        except ValueError:
            continue
    assert checksum(2, 2, 4, payload) != proof
    assert checksum(1, 3, 4, payload) != proof
    assert checksum(1, 2, 5, payload) != proof

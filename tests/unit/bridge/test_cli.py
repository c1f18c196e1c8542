"""What the command line makes of what was typed; nothing is opened."""

import pytest

from binance_proxy.application.ends import END_OF_TIME
from binance_proxy.bridge.asked import range_of
from binance_proxy.domain.errors import ConfigError

SECOND_NS = 1_000_000_000


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        (None, None, (None, END_OF_TIME)),
        ("1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z", (SECOND_NS, 2 * SECOND_NS)),
        ("0001-01-01T00:00:00Z", None, (0, END_OF_TIME)),
        ("0001-01-01T00:00:00Z", "1969-12-31T00:00:00Z", (0, 0)),
        (None, "9999-12-31T23:59:59Z", (None, END_OF_TIME)),
    ],
)
def test_a_range_is_cut_to_what_can_be_stored(start, end, found):
    assert range_of(start, end) == found


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        ("9999-01-01T00:00:00Z", None, "--start 9999-01-01T00:00:00Z lies behind all that can be stored"),
        ("9998-01-01T00:00:00Z", "9999-01-01T00:00:00Z", "lies behind all that can be stored"),
        ("2024-01-02T00:00:00Z", "2024-01-01T00:00:00Z", "does not lie before --end 2024-01-01T00:00:00Z"),
        ("1960-01-02T00:00:00Z", "1960-01-01T00:00:00Z", "does not lie before --end"),
    ],
)
def test_a_range_that_holds_nothing_says_why(start, end, says):
    with pytest.raises(ConfigError) as refused:
        range_of(start, end)
    assert says in str(refused.value)

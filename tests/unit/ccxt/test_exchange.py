"""What ccxt's errors mean to a feed; and that ccxt is not imported before it is used."""

import subprocess
import sys

import pytest

from binance_proxy.adapters.ccxt.exchange import translated
from binance_proxy.adapters.ccxt.settings import Ccxt
from binance_proxy.application.ports import FeedRejected, FeedUnavailable

SETTINGS = Ccxt(exchange="binanceus")


@pytest.fixture(scope="module")
def errors() -> dict[str, type[Exception]]:
    import ccxt  # noqa: PLC0415  a second that only these tests need

    return vars(ccxt)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("NetworkError", "gone"), ("RequestTimeout", ""), ("DDoSProtection", "GET http://x 418 teapot"),
        ("RateLimitExceeded", "429"), ("ExchangeNotAvailable", "binanceus GET http://x 503 away"),
        ("ExchangeError", "500"), ("BadResponse", "<html>"), ("ChecksumError", "x"), ("InvalidNonce", "x"),
        ("NetworkError", "port 1451, 451"), ("OnMaintenance", "x"),
    ],
)  # fmt: skip
def test_most_errors_pass(errors: dict[str, type[Exception]], name: str, text: str) -> None:
    error = translated(errors[name](text), SETTINGS)
    assert isinstance(error, FeedUnavailable)
    assert "binanceus" in str(error)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "ExchangeNotAvailable",
            "binanceus GET http://x/api/v3/depth 451 Unavailable x",
            "feed.ccxt.rest_url",
        ),
        ("NetworkError", "451, message='Invalid response status', url='ws://x'", "feed.ccxt.stream_url"),
        ("AuthenticationError", "bad key", "feed.ccxt.api_key"),
        ("PermissionDenied", "bad key", "feed.ccxt.api_key"),
        ("NotSupported", "watchTrades() is not supported", "watchTrades"),
        ("BadSymbol", "no market NO/SUCH", "NO/SUCH"),
    ],
)
def test_what_will_not_pass_is_rejected_and_says_what_to_change(
    errors: dict[str, type[Exception]], name: str, text: str, says: str
) -> None:
    error = translated(errors[name](text), SETTINGS)
    assert isinstance(error, FeedRejected)
    assert says in str(error)


@pytest.mark.parametrize("error", [KeyError("p"), TypeError("x"), TimeoutError(), ValueError("")])
def test_errors_of_pythons_own_pass(error: Exception) -> None:
    assert isinstance(translated(error, SETTINGS), FeedUnavailable)


def test_ccxt_is_not_imported_before_it_is_used() -> None:
    code = (
        "import sys; import binance_proxy.adapters.ccxt.transport, binance_proxy.adapters.ccxt.feed;"
        " sys.exit('ccxt' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

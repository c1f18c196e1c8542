"""Binance writes ``BTCUSDT`` where people write ``BTC/USDT``."""

QUOTE_ASSETS = (
    "ARS", "AUD", "BFUSD", "BIDR", "BKRW", "BNB", "BRL", "BTC", "BUSD", "BVND", "COP", "CZK", "DAI", "DOGE",
    "ETH", "EUR", "EURI", "FDUSD", "GBP", "GYEN", "IDRT", "JPY", "MXN", "NGN", "PAX", "PLN", "RON", "RUB",
    "SOL", "TRX", "TRY", "TUSD", "UAH", "USD1", "USDC", "USDE", "USDP", "USDS", "USDSB", "USDT", "UST", "VAI",
    "XRP", "ZAR",
)  # fmt: skip
"""What pairs are quoted in. Source: the ``quoteAsset`` of Binance's ``exchangeInfo``, over the years."""

_LONGEST_FIRST = sorted(QUOTE_ASSETS, key=len, reverse=True)


def slashed(symbol: str) -> str | None:
    """Return ``BTC/USDT`` for ``BTCUSDT``; `None` if the symbol ends in no known quote asset."""
    if not (symbol.isascii() and symbol.isalnum() and symbol.upper() == symbol):
        return None
    for quote in _LONGEST_FIRST:
        base = symbol.removesuffix(quote)
        if base and base != symbol:
            return f"{base}/{quote}"
    return None

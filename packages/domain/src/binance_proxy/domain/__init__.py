"""What market data is: values, books, candles and rules. No I/O, no clock, no loop."""

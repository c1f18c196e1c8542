"""What the bridge does with market data: its ports and its use cases. Still no I/O."""

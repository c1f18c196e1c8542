"""Servers that the bridge carries with it and runs as its own child processes."""

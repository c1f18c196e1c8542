"""The settings of the spool."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SpoolSettings:
    """How events are kept while the database is away."""

    patience_s: float = 5.0
    """How long the database may take for a batch that comes straight from the feed. Then it counts as too
    slow, and the batch goes to the spool; from there it has all the time that a transaction may take."""
    limit_bytes: int = 4 * 1024**3
    """How much may lie in the spool. Once it is full, recording stops, and publishing goes on."""
    longest_pause_s: float = 10.0
    """The longest pause between two attempts to reach the database. Pauses grow up to it, each drawn at
    random."""

"""What a recording has done so far."""

import logging
from collections import Counter
from dataclasses import dataclass, field

from binance_proxy.domain.tick import BadFrame

log = logging.getLogger(__name__)


@dataclass
class Report:
    """What a recording has done so far."""

    trades: int = 0
    quotes: int = 0
    applied: int = 0
    """Updates that were applied to a book. The others were older than the snapshot, or waited for one."""
    snapshots: int = 0
    """Whole books that were stored: those that the feed gave, and our own at intervals."""
    duplicates: int = 0
    """Ticks that had come before; they were not passed on again."""
    late_for_candles: int = 0
    """Trades that came too late to correct a published candle; the store's own candles have them."""
    gaps: int = 0
    repaired: int = 0
    """Gaps that were filled, by late ticks or by asking the exchange."""
    lost: int = 0
    """Gaps that nobody can fill any more: updates of a book, and trades that the exchange does not have."""
    fetched: int = 0
    """Trades that were missing and that the exchange gave when it was asked."""
    resyncs: int = 0
    """Times that a book fell out of step because an update was missing."""
    disconnects: int = 0
    """Times that the source was lost; the books of its instruments fell out of step too."""
    stored: int = 0
    """Rows that are in the store now."""
    new: int = 0
    """Rows that the store did not have before."""
    spooled: int = 0
    """Events that went to the spool because the store was away or too slow."""
    drained: int = 0
    """Events that were handed on from the spool to the store, those of earlier runs too."""
    in_spool: int = 0
    """Events that wait in the spool now. They are kept, and the next run stores them."""
    set_aside: int = 0
    """Events that the store would not take, or that the spool could not read again; kept beside."""
    dropped: int = 0
    """Events that were let go because there was room for them nowhere. What is numbered is told as gaps."""
    untold: int = 0
    """Ranges of dropped ticks of which no gap could be recorded."""
    unstored: int = 0
    """Events that could not be stored before the end."""
    bad: Counter[str] = field(default_factory=Counter)
    """Frames that were skipped, by what was wrong with them."""

    def skip(self, bad: BadFrame) -> None:
        """Count a frame that cannot be used; the first of its kind is logged."""
        self.bad[bad.kind] += 1
        if self.bad[bad.kind] == 1:
            log.warning("skipped a frame, %s: %s (%s); more of this kind are only counted",
                        bad.kind, bad.detail, bad.where)  # fmt: skip

"""A bad line: frames of one connection may vanish, come twice, late, in another order, or broken."""

import asyncio
from collections.abc import Callable

from binance_proxy.sandbox.faults import Fault, FaultPlan
from binance_proxy.sandbox.frames import payload_of, text_frame


class FaultyLine:
    """Carries the frames of one connection. Another connection of the same client has its own faults."""

    def __init__(self, plan: FaultPlan, send: Callable[[bytes], None]) -> None:
        """Take what is to go wrong, and where frames go on to."""
        self._plan = plan
        self._send = send
        self._random = plan.frame_random()
        self.held_back: dict[str, bytes] = {}
        """By stream, the frame that waits for the next one."""

    def carry(self, stream: str, frame: bytes) -> None:
        """Send a frame, or do to it what the plan says. A reorder counts once the late frame has come."""
        fault = self._plan.frame(stream, self._random)
        if fault is Fault.REORDER and stream not in self.held_back:
            self.held_back[stream] = frame
            return
        if fault is Fault.DELAY:
            late_s = self._random.uniform(0.1, 1.0) * self._plan.faults.delay_s
            asyncio.get_running_loop().call_later(late_s, self._send, frame)
        elif fault is Fault.CORRUPT:
            self._send(self._corrupted(frame))
        elif fault is not Fault.DROP:
            self._send(frame)
            if fault is Fault.DUPLICATE:
                self._send(frame)
        if fault is not None and fault is not Fault.REORDER:
            self._plan.fired[fault] += 1
        if self.held_back and stream in self.held_back:
            self._send(self.held_back.pop(stream))
            self._plan.fired[Fault.REORDER] += 1

    def _corrupted(self, frame: bytes) -> bytes:
        """Return the frame with a quote overwritten, or without its end; either is no JSON any more."""
        payload = payload_of(frame)
        quotes = [at for at, byte in enumerate(payload) if byte == ord('"')]
        if self._random.random() < 0.5:
            return text_frame(payload[: self._random.randrange(1, len(payload))])
        at = self._random.choice(quotes)
        return text_frame(payload[:at] + b"#" + payload[at + 1 :])

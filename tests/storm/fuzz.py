"""`just fuzz`: a million frames of nonsense at a front and its workers, whose memory must stay flat."""

import argparse
import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from zeromq_crew import Office, children, open_office, resident_kib
from zeromq_fuzz import fuzz

GROWTH_KIB = 20_000


def memory(office: Office) -> dict[str, int]:
    """Return the resident memory of everybody in KiB."""
    front = office.report["pid"]
    names = {front: "front"} | {
        pid: f"worker {pid}" for pid in sorted(children(office.serving.pid)) if pid != front
    }
    return {name: resident_kib(pid) for pid, name in names.items()}


async def run(frames: int, seed: int) -> None:
    """Send them, and print what came back and what it took."""
    async with open_office() as office:
        print("memory in KiB before", memory(office))
        began, samples = time.monotonic(), []

        def tell(sent: int) -> None:
            if sent % max(frames // 10, 1) < 200 and len(samples) < sent * 10 // frames:
                samples.append(memory(office))
                print(f"{sent:,} in {time.monotonic() - began:.0f} s, {samples[-1]}", flush=True)

        codes = await fuzz(office, frames, seed, tell)
        after, report = memory(office), await office.reported(waiting=0, in_progress=0, clients=0)
        print("answers by error code", dict(codes.most_common()))
        print("memory in KiB after", after)
        print(report)
        assert report["fronts_replaced"] == report["workers_replaced"] == 0
        assert after.keys() == samples[0].keys()
        assert all(after[name] < samples[0][name] + GROWTH_KIB for name in after)


def main() -> None:
    """Send nonsense, and fail if anybody died or grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    asyncio.run(run(asked.frames, asked.seed))


if __name__ == "__main__":
    main()

"""`just kill-points`: kill at every fdatasync and every pwrite64 of a run of 60 batches.

The run spools 40 batches while its store is away, and drains them and 20 more when it is back. Once it opens
a new spool, once one that is there already: then all calls of the thread that writes are counted from its
first.
"""

import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]
import killing  # noqa: E402  beside this file

import traced  # noqa: E402


def main() -> int:
    """Try every point; return how many were tried."""
    if not traced.can_trace():
        print("kill points: skipped, strace is not here or may not trace")
        return 0
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        template = killing.made(place / "made")
        tried = killed = accepted = 0
        for fresh in (True, False):
            if not fresh:
                shutil.copytree(template, place / "counted")
            calls = killing.count(place / ("fresh" if fresh else "counted"))
            for call, most in calls.items():
                for number in range(1, most + 1):
                    folder = place / "now"
                    shutil.rmtree(folder, ignore_errors=True)
                    if not fresh:
                        shutil.copytree(template, folder)
                    status, said = killing.run(folder, "-e", f"inject={call}:signal=SIGKILL:when={number}")
                    killing.check(folder, said)
                    tried += 1
                    killed += status != 0
                    accepted += len(said["kept"])
                start = "a new spool" if fresh else "a spool that is there"
                print(f"{call} with {start}: {most} points", flush=True)
    print(f"{tried} runs, {killed} of them killed; all of {accepted:,} accepted batches were there once")
    return tried


if __name__ == "__main__":
    main()

"""The processes of a bridge: who is there, which of them answers requests, and what they leave behind."""

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def _stat(pid: int) -> list[str]:
    """Return the fields of a process behind its name; nothing if it is gone."""
    with suppress(OSError):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return []


def alive(pid: int) -> bool:
    return _stat(pid)[:1] not in ([], ["Z"])


def _parents() -> dict[int, int]:
    """Return the parent of each process that is alive."""
    found = [int(one.name) for one in PROC.iterdir() if one.name.isdigit()]
    return {one: int(stat[1]) for one in found if (stat := _stat(one)) and stat[0] != "Z"}


def children(pid: int) -> list[int]:
    return [one for one, parent in _parents().items() if parent == pid]


def family(pid: int) -> list[int]:
    """Return a process and all below it."""
    parents, found = _parents(), [pid]
    for one in found:  # it grows meanwhile
        found += [child for child, parent in parents.items() if parent == one]
    return found


def command(pid: int) -> str:
    with suppress(OSError):
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def named(pid: int, name: str) -> list[int]:
    """Return those below a process whose command line has a word."""
    return [one for one in family(pid) if name in command(one)]


def listener(pids: list[int], address: str) -> int | None:
    """Return which of these processes listens at a TCP address of this machine."""
    port = f":{int(address.rpartition(':')[2]):04X}"
    lines = [line.split() for line in (PROC / "net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{line[9]}]" for line in lines if line[1].endswith(port) and line[3] == "0A"}
    for pid in pids:
        with suppress(OSError):
            for fd in (PROC / str(pid) / "fd").iterdir():
                with suppress(OSError):
                    if str(fd.readlink()) in inodes:
                        return pid
    return None


class Crew:
    """Those who answer the requests of one bridge, as they come and go."""

    def __init__(self, bridge: int, serve: str) -> None:
        self.bridge, self.serve = bridge, serve

    @property
    def first(self) -> int | None:
        """The process that forks the others."""
        found = [one for one in children(self.bridge) if "bridge.serve" in command(one)]
        return found[0] if found else None

    @property
    def front(self) -> int | None:
        return listener(children(self.first or 0), self.serve)

    @property
    def workers(self) -> list[int]:
        first, front = self.first, self.front
        return [] if first is None or front is None else [one for one in children(first) if one != front]


def kill(pid: int | None, sign: signal.Signals = signal.SIGKILL) -> bool:
    """Send a signal; return whether there was anybody."""
    if pid is None or not alive(pid):
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, sign)
        return True
    return False


def close_own(port: int) -> int:
    """Close this process' own connections to a port, under the feet of those who use them."""
    closed = 0
    for fd in (PROC / "self/fd").iterdir():
        with suppress(OSError):
            if not str(fd.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(fd.name))) as one:
                if one.family == socket.AF_INET and one.getpeername()[1] == port:
                    one.shutdown(socket.SHUT_RDWR)
                    closed += 1
    return closed


def free_now(address: str) -> bool:
    """Say whether somebody else may listen at an address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as ZeroMQ does
        try:
            probe.bind(("127.0.0.1", int(address.rpartition(":")[2])))
        except OSError:
            return False
    return True

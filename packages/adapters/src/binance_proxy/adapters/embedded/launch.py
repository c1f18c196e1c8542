"""Become a server: tie its life to the bridge's, step down from root, then exec it.

Run as a script, `python -I -S launch.py PARENT SIGNAL UID GID REACH [PROGRAM ARGS...]`, and never imported
for anything but its exit status. A process of its own, because `preexec_fn` runs Python in the forked copy of
a program that may have threads, and can deadlock there.

PARENT is the pid of the bridge, SIGNAL what the kernel sends the server when the bridge is gone. UID and GID
are -1 to stay who we are. REACH lists, split by `os.pathsep`, what the new user must be able to enter or
execute. Without PROGRAM the script only finds out whether REACH can be reached: it exits with 0, or with
`UNREACHABLE` and the path on standard output.

**Stepping down.** PostgreSQL refuses to run as root, and the user that it runs as instead often cannot enter
the folders above its binaries or its cluster: a checkout, or uv's cache, below a home of mode 0700. Opening
those folders would open them to everybody and for good. Instead the server keeps one capability of root's,
CAP_DAC_READ_SEARCH, as an ambient one, and only when a path is out of reach. The price: whoever has the
password of this cluster's superuser can then *read* any file of the machine (`pg_read_file`), as root could.
They cannot write, signal or become anybody else, and `PR_SET_NO_NEW_PRIVS` keeps it so. Where that price is
too high, run the bridge as an ordinary user, or keep `data_dir` and the environment outside closed folders.
"""

import ctypes
import os
import signal
import sys

UNREACHABLE = 71
"""Exit status: the user cannot reach a path, and may not keep the capability that would let it."""
PARENT_GONE = 72
"""Exit status: the bridge died before the server began."""
NO_STEPPING_DOWN = 73
"""Exit status: the kernel did not let root become the other user."""

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAP_DAC_READ_SEARCH = 2
READ_SEARCH = 1 << CAP_DAC_READ_SEARCH
SETPCAP = 1 << 8
CAPABILITY_VERSION_3 = 0x20080522


def main(arguments: list[str]) -> None:
    """Do what the module's docstring says. Returns only when there is no PROGRAM, or exits with a status."""
    parent, death_signal, uid, gid = (int(word) for word in arguments[:4])
    reach, program = arguments[4].split(os.pathsep), arguments[5:]
    os.umask(0o077)
    # Python ignores SIGPIPE, and the bridge may block signals: a server shall inherit neither.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if uid >= 0:
        _step_down(uid, gid, reach)
    # A change of user clears the death signal, so it is set after it. It outlives exec: no set-uid program
    # here.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    # Whoever died before the line above sends no signal any more, but has left us to another parent.
    if os.getppid() != parent:
        sys.exit(PARENT_GONE)
    if program:
        os.execv(program[0], program)  # noqa: S606 - no shell is the point


def _step_down(uid: int, gid: int, reach: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if libc is not None:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    try:
        os.setgroups([gid])
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        print(error.strerror)  # noqa: T201 - the parent reads it
        sys.exit(NO_STEPPING_DOWN)
    # The change of user left no capability in effect, so this asks what the user itself can reach.
    beyond = _out_of_reach(reach)
    if libc is not None and beyond:
        _set_capabilities(libc, now=READ_SEARCH | SETPCAP, at_exec=READ_SEARCH)
        # PostgreSQL asks access(2) about its own binaries, which looks away from capabilities without this.
        libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0)
        _set_capabilities(libc, now=READ_SEARCH, at_exec=READ_SEARCH)
        beyond = _out_of_reach(reach)
    elif libc is not None:
        _set_capabilities(libc, now=0, at_exec=0)
    if beyond:
        print(beyond)  # noqa: T201 - the parent reads it
        sys.exit(UNREACHABLE)


def _set_capabilities(libc: ctypes.CDLL, now: int, at_exec: int) -> None:
    """Have the capabilities `now`, and let exec pass on `at_exec`. A refusal shows in what is not reached."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    # Effective, permitted, inheritable; then the same for the capabilities above 31.
    libc.capset(header, (ctypes.c_uint32 * 6)(now, now, at_exec, 0, 0, 0))


def _out_of_reach(paths: list[str]) -> str | None:
    return next((path for path in paths if not os.access(path, os.X_OK)), None)


if __name__ == "__main__":
    main(sys.argv[1:])

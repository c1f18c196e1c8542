"""A disk for the spool that can be full."""

import errno
import os
import resource
import subprocess
from pathlib import Path

DISK_BYTES = 192 * 1024**2
"""Of the disk of the spool, where one can be mounted."""
FILE_BYTES = 400_000
"""Elsewhere a full disk is a limit for the files of the recorder, which its journal stays far below."""


class Disk:
    """What the spool lies on, which can be filled: a disk of its own, or a limit for files."""

    def __init__(self, folder: Path, *, mounts: bool) -> None:
        self._folder = folder
        self._mounts = mounts and os.geteuid() == 0
        self._ballast = folder / "ballast"

    def __enter__(self) -> str:
        """Mount it, if that can be done; return what it is, for people."""
        if self._mounts:
            command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(self._folder)]
            self._mounts = subprocess.run(command, capture_output=True).returncode == 0
        if self._mounts:
            return f"a disk of {DISK_BYTES >> 20} MiB that was filled up"
        return f"a limit of {FILE_BYTES:,} bytes for a file"

    def __exit__(self, *_: object) -> None:
        if self._mounts:
            subprocess.run(["umount", "--lazy", str(self._folder)], check=True)

    def fill(self, pid: int) -> None:
        """Leave no room."""
        if not self._mounts:
            self._limit(pid, FILE_BYTES)
            return
        with self._ballast.open("wb", buffering=0) as file:
            for size in (1024**2, 4096):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self, pid: int) -> None:
        """Make room again."""
        if self._mounts:
            self._ballast.unlink()
        else:
            self._limit(pid, resource.RLIM_INFINITY)

    def _limit(self, pid: int, most: int) -> None:
        hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most if hard < 0 else min(most, hard), hard))

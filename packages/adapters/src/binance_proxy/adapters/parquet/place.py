"""Where an archive lies: a local folder, or whatever a URL of pyarrow or fsspec leads to."""

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Protocol

import fsspec
import pyarrow as pa
from pyarrow import fs

from binance_proxy.application.ports import StoreError, StoreFull, StoreRejected, StoreUnavailable

LOCK = ".lock"
PROBE_NAME, PROBE = "probe", b"x" * 4096
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NEVER = {
    errno.EACCES,
    errno.EEXIST,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
}


class Place(Protocol):
    """A tree of files that are written whole or not at all."""

    where: str
    """For people."""

    def names(self, folder: str) -> list[str]:
        """Return the paths of all files below a folder, sorted; none if there is no such folder."""
        ...

    def open(self, path: str) -> pa.NativeFile:
        """Open a file for pyarrow to read. Raises `FileNotFoundError` if it is not there."""
        ...

    def size(self, path: str) -> int:
        """Return how many bytes a file has."""
        ...

    def create(self, path: str) -> BinaryIO:
        """Begin a file `beside` its place, in the stead of whatever was begun there."""
        ...

    def finish(self, file: BinaryIO) -> None:
        """Close a file that was begun, and have it safely on the disk."""
        ...

    def settle(self, path: str) -> None:
        """Put the file that lies beside into its place, in one step."""
        ...

    def secure(self, path: str) -> None:
        """Have the name of a file that is in its place safely on the disk, whoever put it there."""
        ...

    def forget(self, path: str) -> None:
        """Take away what lies beside, if anything does."""
        ...

    def alone(self) -> AbstractContextManager[bool]:
        """Keep other writers out while the context is open, where that can be done; false if one is there."""
        ...

    def probe(self) -> None:
        """Write something and take it away, to see whether that can be done."""
        ...


@contextmanager
def telling(path: str | None = None) -> Iterator[None]:
    """Turn what an operating system says about a path into what the caller can do about it."""
    try:
        yield
    except StoreError:
        raise
    except pa.ArrowInvalid as error:
        said = f"{path or 'a file'} is damaged, or no file of an archive: {str(error).strip()}"
        raise StoreRejected(said) from error
    except OSError as error:
        path = path or error.filename
        said = ": ".join(str(part) for part in (path, error.strerror or error) if part)
        if error.errno is None and "AWS Error" not in said and not isinstance(error, ConnectionError):
            # As pyarrow says it of a page.
            raise StoreRejected(f"{path or 'a file'} is damaged: {str(error).strip()}") from error
        if error.errno in NO_ROOM:
            raise StoreFull(f"there is no room for {said}") from error
        if error.errno in NEVER:
            raise StoreRejected(f"the archive cannot be used: {said}") from error
        raise StoreUnavailable(f"the archive is away: {said}") from error


def beside(path: str) -> str:
    """Return the name that a file has until it is whole: one that no reader takes for Parquet."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}.{name}.writing"


def is_unfinished(path: str) -> bool:
    """Return whether a path lies `beside` that of a file."""
    name = path.rpartition("/")[2]
    return name.startswith(".") and name.endswith(".writing")


class LocalPlace:
    """A folder on a disk of this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.where = str(root)

    def names(self, folder: str) -> list[str]:
        """Return the paths of all files below a folder, sorted; none if there is no such folder."""
        top = self._root / folder
        if not top.exists():
            return []
        return sorted(
            (Path(at) / name).relative_to(self._root).as_posix()
            for at, _, names in os.walk(top, onerror=_raise)
            for name in names
        )

    def open(self, path: str) -> pa.NativeFile:
        """Open a file for pyarrow to read. Raises `FileNotFoundError` if it is not there."""
        return pa.OSFile(str(self._root / path))

    def size(self, path: str) -> int:
        """Return how many bytes a file has."""
        return (self._root / path).stat().st_size

    def create(self, path: str) -> BinaryIO:
        """Begin a file `beside` its place, in the stead of whatever was begun there."""
        _make((self._root / path).parent, self._root)
        return (self._root / beside(path)).open("wb")

    def finish(self, file: BinaryIO) -> None:
        """Close a file that was begun, and have it safely on the disk, from where it is read again."""
        with file:
            file.flush()
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def settle(self, path: str) -> None:
        """Put the file that lies beside into its place, and have its name on the disk."""
        (self._root / beside(path)).replace(self._root / path)
        self.secure(path)

    def secure(self, path: str) -> None:
        """Bring the name of a file to the disk, and those of the folders above it.

        Another run may have been killed between making one of them and bringing it there.
        """
        folder = (self._root / path).parent
        while folder != self._root:
            _sync(folder)
            folder = folder.parent
        _sync(self._root)
        with suppress(PermissionError):  # the folder that the archive lies in may be closed to us
            _sync(self._root.parent)

    def forget(self, path: str) -> None:
        """Take away what lies beside, if anything does."""
        (self._root / beside(path)).unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Lock the folder against other processes of this machine; false if one has it."""
        _make(self._root, self._root)
        with (self._root / LOCK).open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def probe(self) -> None:
        """Write something where the folder is or would be made, and take it away."""
        there = next(path for path in (self._root, *self._root.resolve().parents) if path.exists())
        with TemporaryFile(dir=there) as file:
            file.write(PROBE)
            file.flush()


def _raise(error: OSError) -> None:
    raise error


def _make(folder: Path, root: Path) -> None:
    """Make a folder and those above it, each of them safely on the disk."""
    if folder.is_dir():
        return
    _make(folder.parent, root)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class RemotePlace:
    """A bucket or a server. What is put there is whole or not there at all, as its system says."""

    def __init__(self, filesystem: fs.FileSystem, root: str, url: str) -> None:
        self._fs = filesystem
        self._root = root.strip("/")
        self.where = url

    def names(self, folder: str) -> list[str]:
        """Return the paths of all files below a folder, sorted; none if there is no such folder."""
        selector = fs.FileSelector(self._path(folder), allow_not_found=True, recursive=True)
        return sorted(
            one.path.strip("/")[len(self._root) + 1 :]
            for one in self._fs.get_file_info(selector)
            if one.type is fs.FileType.File
        )

    def open(self, path: str) -> pa.NativeFile:
        """Open a file for pyarrow to read. Raises `FileNotFoundError` if it is not there."""
        return self._fs.open_input_file(self._path(path))

    def size(self, path: str) -> int:
        """Return how many bytes a file has."""
        return int(self._fs.get_file_info(self._path(path)).size)

    def create(self, path: str) -> BinaryIO:
        """Begin a file `beside` its place, in the stead of whatever was begun there."""
        self._fs.create_dir(self._path(path).rpartition("/")[0], recursive=True)
        stream: BinaryIO = self._fs.open_output_stream(self._path(beside(path)))
        return stream

    def finish(self, file: BinaryIO) -> None:
        """Close a file that was begun, which is when such a system has it."""
        file.close()

    def settle(self, path: str) -> None:
        """Move the file that lies beside into its place."""
        self._fs.move(self._path(beside(path)), self._path(path))

    def secure(self, path: str) -> None:
        """Do nothing: such a system keeps a name once it has answered."""

    def forget(self, path: str) -> None:
        """Take away what lies beside, if anything does."""
        if self._fs.get_file_info(self._path(beside(path))).type is fs.FileType.File:
            self._fs.delete_file(self._path(beside(path)))

    def alone(self) -> AbstractContextManager[bool]:
        """Trust that nobody else writes: such a system has no locks."""
        return nullcontext(enter_result=True)

    def probe(self) -> None:
        """Write something and take it away."""
        with self.create(PROBE_NAME) as file:
            file.write(PROBE)
        self.forget(PROBE_NAME)

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}".rstrip("/")


def place_of(url: str) -> Place:
    """Find the place that a folder or a URL means; nothing is opened.

    Raises:
        StoreRejected: The URL is of a kind that neither pyarrow nor fsspec knows, or needs another package.
    """
    scheme, separator, path = url.partition("://")
    if not separator or scheme == "file":
        return LocalPlace(Path(path if separator else url).expanduser())
    shown = re.sub(r"^(\w+://[^/?#@:]*):[^/?#]*@", r"\1:***@", url)  # a secret key is not for people
    try:
        try:
            filesystem, root = fs.FileSystem.from_uri(url)
        except pa.ArrowInvalid as error:
            if "Unrecognized filesystem type" not in str(error):
                raise
            wrapped, root = fsspec.core.url_to_fs(url)
            filesystem = fs.PyFileSystem(fs.FSSpecHandler(wrapped))
    except (ValueError, ImportError, OSError) as error:
        said = str(error).partition("\n")[0]  # one of pyarrow's has a line for each place it looked in
        raise StoreRejected(f"archive.url = {shown} cannot be used: {said}") from error
    return RemotePlace(filesystem, root, shown)

"""Killed at any system call, or with a disk that fails at any: what was accepted is there, once."""

import random
import resource
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.append(str(HERE))
import killing  # noqa: E402  beside this file

import traced  # noqa: E402

pytestmark = pytest.mark.skipif(not traced.can_trace(), reason="strace is not here or may not trace")

POINTS = {"fdatasync": 60, "pwrite64": 250}
"""Calls that the thread which writes makes in every run, about; `just kill-points` takes all there are."""
rng = random.Random(5)
SOME = [(call, rng.randrange(1, most + 1)) for call, most in POINTS.items() for _ in range(6)]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return killing.made(tmp_path_factory.mktemp("spool") / "made")


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "spool"))


@pytest.mark.parametrize(("call", "number"), SOME)
def test_killed_at_a_system_call(folder: Path, call: str, number: int) -> None:
    status, said = killing.run(folder, "-e", f"inject={call}:signal=SIGKILL:when={number}")
    assert status != 0, "it was killed"
    killing.check(folder, said)


@pytest.mark.parametrize(("call", "number"), [("fdatasync", 1), ("pwrite64", 1), ("pwrite64", 7)])
def test_killed_while_the_spool_is_made(tmp_path: Path, call: str, number: int) -> None:
    status, said = killing.run(tmp_path / "spool", "-e", f"inject={call}:signal=SIGKILL:when={number}")
    assert status != 0
    assert killing.check(tmp_path / "spool", said) == 0


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("call", killing.CALLS)
def test_a_disk_that_fails_at_a_system_call(folder: Path, call: str, error: str) -> None:
    """One call fails, and some later ones: batches are refused meanwhile, and those accepted are kept."""
    status, said = killing.run(folder, "-e", f"inject={call}:error={error}:when=20+15")
    assert status == 0
    assert said["end"]
    assert said["full"], "it really failed"
    assert said["full"].isdisjoint(said["kept"])
    killing.check(folder, said)


def test_a_write_that_stops_half_way(folder: Path) -> None:
    status, said = killing.run(folder, "-e", "inject=pwrite64:retval=4:when=30+20")
    killing.check(folder, said)
    assert status == 0


def test_a_file_that_may_not_grow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit for files is a full disk: recording is refused, and what was accepted before is kept."""
    most = 250_000
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        status, said = killing.run(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert status == 0
    assert said["full"], "it really was full"
    assert said["kept"]
    killing.check(folder, said)

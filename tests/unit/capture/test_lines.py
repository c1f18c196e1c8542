"""Every line that can be read is read, and what cannot be is told with its place."""

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binance_proxy.adapters.capture.lines import Line, read_lines
from binance_proxy.adapters.capture.soundness import SOUND, check
from binance_proxy.application.ports import FeedRejected
from binance_proxy.domain.tick import BadFrame

CONTENT = b"".join(b'%d {"number":%d}\n' % (10**18 + number, number) for number in range(1, 2_001))
LINES = CONTENT.splitlines(keepends=True)


def read(path, soundness=SOUND):
    lines = list(read_lines(path, soundness))
    return [one for one in lines if isinstance(one, Line)], [
        one for one in lines if isinstance(one, BadFrame)
    ]


def written(tmp_path, content, name="a.gz"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["a.gz", "a.txt", "a"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_file_is_gzip_or_plain_whatever_its_name(tmp_path, name, packed):
    path = written(tmp_path, gzip.compress(CONTENT) if packed else CONTENT, name)
    lines, bad = read(path)
    assert bad == []
    assert lines[6] == Line(10**18 + 7, b'{"number":7}\n', path, 7)
    assert lines[6].where == f"{name} line 7"
    assert [line.number for line in lines] == list(range(1, 2_001))


def test_several_gzip_members_are_one_file(tmp_path):
    half = CONTENT.index(b"\n", len(CONTENT) // 2) + 1
    path = written(tmp_path, gzip.compress(CONTENT[:half]) + gzip.compress(CONTENT[half:]))
    lines, bad = read(path)
    assert (len(lines), bad) == (2_000, [])


def test_the_last_line_may_lack_its_end(tmp_path):
    lines, bad = read(written(tmp_path, b"1 {}\n2 {}"))
    assert ([line.raw for line in lines], bad) == ([b"{}\n", b"{}"], [])


@pytest.mark.parametrize("packed", [True, False])
def test_an_empty_file_is_told(tmp_path, packed):
    lines, [bad] = read(written(tmp_path, gzip.compress(b"") if packed else b""))
    assert lines == []
    assert (bad.kind, bad.where) == ("empty file", "a.gz line 0")


def test_blank_lines_are_nothing(tmp_path):
    lines, bad = read(written(tmp_path, b"\n1 {}\n\n  \n2 {}\n\n"))
    assert ([line.number for line in lines], bad) == ([2, 5], [])


@pytest.mark.parametrize(
    "line",
    [
        b'{"stream":"btcusdt@trade"}', b"nonsense", b"-5 {}", b"1.5 {}", b"12", b"0x10 {}", b" 12 {}",
        b"\xff {}", b"1_000 {}", "\u0661 {}".encode(), b"9223372036854775808 {}", b"9" * 38 + b" {}",
        b"9" * 5_000 + b" {}",
    ],
)  # fmt: skip
def test_a_line_without_a_receipt_time_is_told_and_the_next_one_read(tmp_path, line):
    lines, [bad] = read(written(tmp_path, b"1 {}\n" + line + b"\n3 {}\n", "b.txt"))
    assert [one.ts_recv for one in lines] == [1, 3]
    assert (bad.kind, bad.where, bad.ts_recv) == ("broken line", "b.txt line 2", 1)


def test_the_latest_receipt_time_of_all_is_read(tmp_path):
    [line], bad = read(written(tmp_path, b"9223372036854775807 {}\n"))
    assert (line.ts_recv, bad) == (2**63 - 1, [])


def inflated(packed):
    """Return what zlib gets out of the beginning of a gzip file."""
    return zlib.decompressobj(wbits=31).decompress(packed)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99, 0.9999])
def test_of_a_truncated_gzip_every_whole_line_is_read(tmp_path, share):
    packed = gzip.compress(CONTENT)
    cut = packed[: max(3, int(len(packed) * share))]
    lines, [bad] = read(written(tmp_path, cut))
    whole = inflated(cut).count(b"\n")
    assert [b"%d %b" % (line.ts_recv, line.raw) for line in lines[:whole]] == LINES[:whole]
    assert len(lines) == whole
    assert (bad.kind, bad.where) == ("truncated gzip", f"a.gz line {whole + 1}")


@pytest.mark.parametrize("garbage", [b"garbage", b"\x1f\x8b\xff\xff", b"x" * 100_000])
def test_of_a_gzip_with_garbage_behind_every_line_is_read(tmp_path, garbage):
    path = written(tmp_path, gzip.compress(CONTENT) + garbage)
    lines, [bad] = read(path, check(path))
    assert len(lines) == 2_000
    assert bad.kind in {"broken gzip", "damaged gzip"}
    assert bad.where == "a.gz line 2001"


def test_zeros_behind_a_gzip_are_padding(tmp_path):
    lines, bad = read(written(tmp_path, gzip.compress(CONTENT) + b"\x00" * 512))
    assert (len(lines), bad) == (2_000, [])


@given(st.integers(0), st.integers(1, 255))
@settings(max_examples=150)
def test_a_damaged_gzip_is_told_and_never_more(tmp_path_factory, at, flip):
    packed = bytearray(gzip.compress(CONTENT, mtime=0))
    at = 10 + at % (len(packed) - 10)  # behind the header, whose bytes may say other harmless things
    packed[at] ^= flip
    path = written(tmp_path_factory.mktemp("damaged"), bytes(packed))
    lines, bad = read(path, check(path))
    assert bad
    # A flipped bit may also hide the end of the file; what comes before it is then a sound beginning.
    whole = CONTENT.splitlines(keepends=True)
    assert [line.raw for line in lines[:-1]] == [one.partition(b" ")[2] for one in whole[: len(lines[:-1])]]


def test_a_member_that_fails_its_checksum_is_not_played_nor_what_lies_behind(tmp_path):
    member = gzip.compress(CONTENT)
    damaged = member[:-8] + bytes(4) + member[-4:]
    path = written(tmp_path, member + damaged + member)
    lines, [bad] = read(path, check(path))
    assert len(lines) == 2_000
    assert (bad.kind, bad.where) == ("damaged gzip", "a.gz line 2001")


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9])
def test_not_one_line_of_a_file_with_a_flipped_bit_is_played_wrong(tmp_path, at):
    packed = bytearray(gzip.compress(CONTENT))
    packed[int(len(packed) * at)] ^= 0x10
    path = written(tmp_path, bytes(packed))
    lines, [bad] = read(path, check(path))
    assert lines == []
    assert bad.kind == "damaged gzip"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.symlink_to(path), "symbolic links"),
    ],
)
def test_a_file_that_cannot_be_opened_is_refused_and_named(tmp_path, make, why):
    path = tmp_path / "c.gz"
    make(path)
    with pytest.raises(FeedRejected, match=rf"cannot read the capture .*c\.gz: .*{why}"):
        list(read_lines(path))

"""Bytes come as they were packed; damage is told with its byte."""

import gzip
import os
import random
import socket
import sys
from pathlib import Path

import pytest
import zstandard

from data_files import pack
from tunesmith.data.sources import raw
from tunesmith.data.sources.raw import chunks, file_digest, open_binary, unpacked
from tunesmith.errors import DataError

PACKINGS = {".gz": "gzip", ".zst": "zstandard"}
WORDS = random.Random(0).randbytes(50_000)


def read(tmp_path, content, packing):
    file = tmp_path / "a"
    file.write_bytes(content)
    return b"".join(chunks(file, packing))


@pytest.mark.parametrize("end", PACKINGS)
@pytest.mark.parametrize("content", [b"", b"x", WORDS, b"\0" * 5_000_000], ids=len)
def test_what_was_packed_comes_out(tmp_path, end, content):
    assert read(tmp_path, pack(content, end), PACKINGS[end]) == content


@pytest.mark.parametrize("end", PACKINGS)
def test_members_that_follow_one_another_are_one_file(tmp_path, end):
    assert read(tmp_path, pack(b"one ", end) + pack(b"two", end), PACKINGS[end]) == b"one two"


def test_zeros_after_gzip_and_frames_to_skip_hold_nothing(tmp_path):
    assert read(tmp_path, gzip.compress(b"a") + b"\0" * 20_000, "gzip") == b"a"
    skipped = b"\x50\x2a\x4d\x18\x03\0\0\0abc"
    whole = pack(b"a", ".zst") + skipped + pack(b"b", ".zst")
    assert read(tmp_path, whole, "zstandard") == b"ab"


@pytest.mark.parametrize("end", PACKINGS)
@pytest.mark.parametrize("cut", [1, 100, 9_000, 49_000])
def test_a_packed_file_that_is_cut_off_names_its_last_byte(tmp_path, end, cut):
    with pytest.raises(DataError, match="cut off") as error:
        read(tmp_path, pack(WORDS, end)[:cut], PACKINGS[end])
    assert error.value.where == f"{tmp_path / 'a'}: byte {cut}"


@pytest.mark.parametrize("end", PACKINGS)
@pytest.mark.parametrize("sound", [0, 1])
def test_what_is_no_packed_file_is_told_with_its_byte(tmp_path, end, sound):
    before = pack(WORDS, end) * sound
    with pytest.raises(DataError) as error:
        read(tmp_path, before + b"junk, and more of it", PACKINGS[end])
    at = int(error.value.where.removeprefix(f"{tmp_path / 'a'}: byte "))
    assert len(before) <= at <= len(before) + 4


def test_a_wrong_checksum_is_told_at_the_checksum(tmp_path):
    whole = bytearray(gzip.compress(WORDS))
    whole[-8] ^= 1
    with pytest.raises(DataError, match="incorrect data check") as error:
        read(tmp_path, whole, "gzip")
    assert error.value.where == f"{tmp_path / 'a'}: byte {len(whole) - 5}"


def test_a_missing_library_is_told_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    with pytest.raises(DataError) as error:
        read(tmp_path, pack(b"a", ".zst"), "zstandard")
    assert error.value.hint == "pip install 'tunesmith[zstandard]'"


@pytest.mark.parametrize("end", ["", *PACKINGS])
def test_an_unpacked_file_can_be_sought_in(tmp_path, end):
    file = tmp_path / "a"
    file.write_bytes(pack(b"0123456789", end))
    with unpacked(file, PACKINGS.get(end)) as opened:
        opened.seek(5)
        assert opened.read() == b"56789"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_no_room_to_unpack_is_one_error(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(pack(WORDS, ".gz"))
    with Path("/dev/full").open("w+b") as full:
        monkeypatch.setattr(raw.tempfile, "TemporaryFile", lambda: full)
        with pytest.raises(DataError, match="No space left") as error:
            unpacked(file, "gzip")
    assert error.value.where == str(file)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    os.symlink("loop", tmp_path / "loop")
    for name, told in [
        ("pipe", "a pipe"),
        ("socket", "a device or a socket"),
        ("/dev/zero", "a device or a socket"),
        ("loop", "symbolic links"),
        ("none", "No such file"),
        (".", "Is a directory"),
        ("a\0b", "null byte"),
    ]:
        with pytest.raises(DataError, match=told):
            open_binary(tmp_path / name)


def test_a_digest_is_of_the_packed_bytes(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"")
    assert file_digest(file).hex().startswith("e3b0c44298fc1c14")


def test_a_window_that_is_too_wide_is_told_with_the_command(tmp_path):
    wide = zstandard.ZstdCompressionParameters(window_log=29)
    packer = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    (tmp_path / "a.jsonl.zst").write_bytes(packer.compress(b"a") + packer.flush())
    with pytest.raises(DataError) as error:
        list(chunks(tmp_path / "a.jsonl.zst", "zstandard"))
    assert "128 MiB" in error.value.need
    assert error.value.hint == f"zstd -d --long=31 {tmp_path / 'a.jsonl.zst'}"

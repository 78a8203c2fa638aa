"""Media of a store come back as they were, and are told apart by what they hold."""

from tunesmith.data.media.kept import from_bytes, identity, look, to_bytes
from tunesmith.types import Media


def test_there_and_back(tmp_path):
    for medium in (
        Media("image", "a/b.png"),
        Media("audio", b"\x00\n\xff"),
        Media("video", ("a.png", b"\n\n", "c.png")),
        Media("video", ("only.png",)),
    ):
        assert from_bytes(to_bytes(medium)) == medium


def test_identity_is_that_of_the_content(tmp_path):
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path, data in zip(paths, (b"x" * 9, b"x" * 9, b"x" * 10), strict=True):
        path.write_bytes(data)
    a, b, c = (identity(Media("image", str(path))) for path in paths)
    assert a == b == identity(Media("image", b"x" * 9))
    assert a != c
    assert a != identity(Media("video", str(paths[0])))


def test_a_file_that_is_exchanged_looks_different(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    stored = [to_bytes(Media("image", str(path))), to_bytes(Media("image", b"bytes"))]
    first = look(stored)
    assert look(stored * 2) == first  # each file once
    assert look(stored[1:]) == look([]) == ""
    path.write_bytes(b"other")
    second = look(stored)
    path.unlink()
    assert len({first, second, look(stored)}) == 3

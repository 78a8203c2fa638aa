"""Features come back bit for bit, or are known to be damaged; what is half made is not there."""

import os

import pytest
import torch

from tunesmith import store
from tunesmith.data.media import features as module
from tunesmith.data.media.features import Features, digest_of, forget_unused, key


def picture(number):
    """A digest, some of which end in zeros."""
    return bytes([number]) + bytes(31)


def entry(number, rows=2):
    """Tensors of every kind that is kept."""
    torch.manual_seed(number)
    return {
        "input:pixel_values": torch.empty(1, 3, 0, 0),
        "input:image_sizes": torch.tensor([[number, 7]]),
        "made:hidden_states.-2": torch.randn(1, rows, 5).bfloat16(),
        "made:last": torch.randn(rows, 3),
        "made:one": torch.tensor(float(number)),
    }


def same(a, b):
    """Names, dtypes, shapes, bits."""
    return list(a) == list(b) and all(
        a[n].dtype == b[n].dtype and a[n].shape == b[n].shape and torch.equal(a[n], b[n]) for n in a
    )


def filled(directory, numbers=range(5)):
    """A directory with some pictures, each of another size."""
    features = Features(directory)
    with features.making():
        features.add((picture(n), entry(n, rows=n + 1)) for n in numbers)
    return features


@pytest.fixture(autouse=True)
def _small(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_PICTURES", 2)
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


def test_what_was_put_in_comes_back(tmp_path):
    features = filled(tmp_path / "f")
    assert sorted(path.name for path in (tmp_path / "f").iterdir()) == [
        "000000",
        "000001",
        "000002",
    ]
    other = Features(tmp_path / "f")
    assert len(other) == 0
    assert other.load() == 0
    for found in (features, other):
        assert len(found) == 5
        assert all(same(found.read(picture(n)), entry(n, rows=n + 1)) for n in range(5))
    assert picture(9) not in other


def test_shards_end_at_their_size_too(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_BYTES", 1)
    filled(tmp_path / "f")
    assert len(list((tmp_path / "f").iterdir())) == 5


def test_more_is_added_to_what_is_there(tmp_path):
    filled(tmp_path / "f", range(3))
    features = filled(tmp_path / "f", range(3, 5))
    assert len(features) == 5
    assert same(features.read(picture(0)), entry(0, rows=1))


def test_what_was_full_before_a_failure_is_kept(tmp_path):
    def failing():
        yield from ((picture(n), entry(n)) for n in range(3))
        raise RuntimeError("power cut")

    features = Features(tmp_path / "f")
    with pytest.raises(RuntimeError, match="power cut"), features.making():
        features.add(failing())
    assert [path.name for path in (tmp_path / "f").iterdir()] == ["000000"]
    features.load()
    assert picture(1) in features
    assert picture(2) not in features


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    from tunesmith.errors import StoreError
    from tunesmith.store import directories

    def full(*args):
        raise OSError(28, "No space left on device")

    features = Features(tmp_path / "f")
    monkeypatch.setattr(directories, "_put_in_place", full)
    with pytest.raises(StoreError, match="No space"), features.making():
        features.add([(picture(0), entry(0))])
    assert list((tmp_path / "f").iterdir()) == []


@pytest.mark.parametrize("file", ["features.bin", "index.bin", "MANIFEST.json"])
@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_shard_is_not_there_and_is_made_again(tmp_path, file, cut):
    filled(tmp_path / "f")
    path = tmp_path / "f" / "000001" / file
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw[: len(raw) // 2] if cut else raw)
    features = Features(tmp_path / "f")
    assert features.load() == 1
    assert {n for n in range(5) if picture(n) in features} == {0, 1, 4}
    with features.making():
        assert not path.parent.exists()
        features.add([(picture(n), entry(n)) for n in (2, 3)])
    assert same(features.read(picture(3)), entry(3))


@pytest.mark.parametrize("how", ["bit", "cut", "gone"])
def test_damage_that_no_time_stamp_tells_of_is_found_on_reading(tmp_path, how):
    features = filled(tmp_path / "f")
    path = tmp_path / "f" / "000000" / "features.bin"
    stat, raw = path.stat(), bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    else:
        raw[-3] ^= 4
        with path.open("r+b") as file:
            file.write(raw)
            file.truncate(len(raw) - (9 if how == "cut" else 0))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert features.read(picture(1)) is None
    assert not path.parent.exists()
    after = Features(tmp_path / "f")
    after.load()
    assert picture(1) not in after
    assert picture(2) in after


def test_what_nobody_uses_is_forgotten(tmp_path):
    for name, age in (("old", 40), ("new", 1)):
        filled(tmp_path / name)
        os.utime(tmp_path / name, (1e9 - age * 86400,) * 2)
    with store.lock(tmp_path / "old"):
        forget_unused(tmp_path, now=1e9)
    assert (tmp_path / "old").exists()  # somebody adds to it
    forget_unused(tmp_path, now=1e9)
    assert not (tmp_path / "old").exists()
    assert (tmp_path / "new").exists()


def test_the_key_is_what_is_said():
    said = {"weights": "a", "precision": ["fp32"]}
    assert key(said) == key(dict(reversed(said.items())))
    assert key(said) != key(said | {"weights": "b"})


def test_a_digest_tells_every_change_of_a_tensor_apart():
    one = torch.arange(6.0)
    others = [one.view(2, 3), one.double(), one + 1e-6, one.view(torch.int32)]
    found = {digest_of([("w", tensor)]) for tensor in (one, *others)}
    found |= {digest_of([("v", one)]), digest_of([("w", one), ("v", one)])}
    assert len(found) == 7
    assert digest_of([("w", one)]) == digest_of([("w", one.clone())])

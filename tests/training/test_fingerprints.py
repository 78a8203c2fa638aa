"""Models on disk are told apart without reading them whole."""

from tiny_model import tiny_model
from tunesmith.training.fingerprints import fingerprint


def test_another_model_of_the_same_shape_has_another_fingerprint(tmp_path):
    one, other = (tiny_model(tmp_path, seed=seed, name=f"m{seed}") for seed in (0, 1))
    same = tiny_model(tmp_path, seed=0, name="again")
    assert fingerprint(one) == fingerprint(same)
    assert fingerprint(one) != fingerprint(other)


def test_a_tuned_model_is_another_model(tmp_path):
    path = tiny_model(tmp_path)
    before = fingerprint(path)
    weights = path / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    assert fingerprint(path) != before

"""An update is timed with the optimizer of the run, and counted where the device is not here."""

import pytest

from tiny_run import tiny_run
from tunesmith.config.load import load
from tunesmith.training import trial, update
from tunesmith.training.material import gather
from tunesmith.training.report import Silent

MATRICES = [(1024, 4096), (4096, 1024)] * 10
FAST = {"bandwidth": 2e12, "speed": 2e14}


def test_layers_count_as_often_as_the_model_has_them_and_the_rest_by_its_size(tmp_path):
    run = load(tiny_run(tmp_path, finetuning_type="full", lora_rank=None))
    material = gather(run, Silent())
    model = trial._model(run, material.directory, material.precision, layers=1, spec=None)
    learned, seen = dict(model.named_parameters()), []
    inside = sum(p.numel() for name, p in learned.items() if ".layers." in name)

    def timed(once):
        once()
        seen.append(once)
        return 1.0

    trainable = 5 * inside + 4 * update._MOST
    found = update.seconds(run, model, learned, deep=5, trainable=trainable, timed=timed)
    assert len(seen) == 2
    assert found == pytest.approx(5 + 4)


@pytest.mark.parametrize("name", ["muon", "adafactor", "sgd", "adamw_8bit"])
def test_it_is_the_optimizer_of_the_run_that_is_tried(tmp_path, monkeypatch, name):
    if "8bit" in name:
        pytest.importorskip("bitsandbytes")
    run = load(tiny_run(tmp_path, finetuning_type="full", lora_rank=None, optim=name))
    material, made, build = gather(run, Silent()), [], update.optimizer_for
    monkeypatch.setattr(
        update, "optimizer_for", lambda *a, **k: made.append(build(*a, **k)) or made[-1]
    )
    model = trial._model(run, material.directory, material.precision, layers=1, spec=None)
    learned = dict(model.named_parameters())
    before = {key: p.detach().clone() for key, p in learned.items()}
    update.seconds(run, model, learned, deep=2, trainable=material.trainable,
                   timed=lambda once: once() or 1.0)  # fmt: skip
    kind = getattr(made[0], "parts", made)[0]
    words = {"adamw_8bit": "AdamW", "sgd": "SGD"}.get(name, name.title())
    assert type(kind).__name__ == words
    assert (learned["model.layers.0.mlp.up_proj.weight"]
            != before["model.layers.0.mlp.up_proj.weight"]).any()  # fmt: skip


def test_less_state_takes_less_time_and_products_take_more():
    seconds = {
        name: update.counted(name, MATRICES, **FAST)
        for name in ("sgd", "adamw_bnb_8bit", "adamw_torch_fused", "adafactor", "muon")
    }
    assert list(seconds.values()) == sorted(seconds.values())


def test_muon_multiplies_what_its_authors_count():
    """2 (2 n m2 + m3) for each of five iterations: https://kellerjordan.github.io/posts/muon/."""
    one = update.counted("muon", [(1000, 3000)], bandwidth=1e30, speed=1e12)
    two = update.counted("muon", [(1000, 3000)], bandwidth=1e30, speed=5e11)
    assert two - one == pytest.approx(5 * 2 * (2 * 3000 * 1000**2 + 1000**3) / 1e12)
    vector = update.counted("muon", [(1000,)], bandwidth=1e12, speed=1.0)
    assert vector == update.counted("adamw_torch_fused", [(1000,)], bandwidth=1e12, speed=1.0)


def test_an_update_of_adamw_moves_48_bytes_a_number():
    found = [update.counted("adamw_torch", [(n,)], bandwidth=1e9, speed=1e9) for n in (0, 10**6)]
    assert found[1] - found[0] == pytest.approx(48e6 / 1e9)

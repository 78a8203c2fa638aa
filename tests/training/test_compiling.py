"""When a run compiles its kernels, and that nothing but time and rounding depends on it."""

import json
import signal

import pytest
import torch
from safetensors.torch import load_file

from oracle import distance
from tiny_run import tiny_run, train
from tunesmith.compute import rows
from tunesmith.compute.fused import norm
from tunesmith.compute.precision import Precision
from tunesmith.config.load import load
from tunesmith.errors import ConfigError
from tunesmith.training import compiling
from tunesmith.training.report import Silent
from tunesmith.training.signals import Stopper

CPU = Precision(torch.bfloat16, torch.device("cpu"), "", "")
GPU = Precision(torch.bfloat16, torch.device("cuda"), "", "")


@pytest.fixture
def run(tmp_path):
    return lambda **keys: load(tiny_run(tmp_path, **keys))


@pytest.mark.parametrize("where", [CPU, GPU])
def test_a_run_compiles_where_that_saves_twice_what_it_takes(run, where):
    asked = run()
    decided = {
        seconds: compiling.decide(asked, where, float(seconds), here=False, before=None)
        for seconds in range(0, 4000, 50)
    }
    for seconds, found in decided.items():
        saved = (
            seconds
            * compiling.decide(run(torch_compile=True), where, 1.0, here=False, before=None).gain
        )
        assert found.on == (seconds - found.seconds(seconds) >= found.warm_up > 0)
        assert found.on == (saved >= 2 * {"cpu": 20, "cuda": 30}[where.device.type])
    assert {found.on for found in decided.values()} == {True, False}


def test_what_was_done_at_the_first_start_is_gone_on_with(run):
    for seconds, before in ((1.0, True), (1e6, False)):
        found = compiling.decide(run(), CPU, seconds, here=False, before=before)
        assert found.on is before
    assert not compiling.decide(run(torch_compile=False), CPU, 1e6, here=False, before=True).on, (
        "who switches it off is heard"
    )


def test_other_devices_do_not_compile_by_themselves(run):
    other = Precision(torch.float32, torch.device("mps"), "", "")
    assert not compiling.decide(run(), other, 1e9, here=False, before=None).on


def test_without_a_compiler_it_is_refused_where_asked_for_and_told_where_not(run, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError) as caught:
        compiling.decide(run(torch_compile=True), CPU, 1.0, here=True, before=None)
    assert caught.value.where.endswith("torch_compile")
    assert "no-such-compiler" in caught.value.need
    alone = compiling.decide(run(), CPU, 1e6, here=True, before=None)
    assert not alone.on
    assert "no-such-compiler" in alone.why


def curve(path, out, *args, **keys):
    result = train(path, *args, output_dir=str(out), **keys)
    losses = [
        row["loss"]
        for row in map(json.loads, (out / "trainer_log.jsonl").read_text().splitlines())
        if "loss" in row
    ]
    return result, losses, load_file(out / "adapter_model.safetensors")


class StopAtTheThird(Stopper, Silent):
    def step(self, done, total, **facts):
        if done == 3:
            self.receive(signal.SIGTERM, None)


def test_a_compiled_run_learns_the_same_and_goes_on_bit_for_bit(tmp_path, monkeypatch):
    path = tiny_run(tmp_path, num_train_epochs=4, learning_rate=1e-3)
    calls, real = [], norm._scale.compiled
    monkeypatch.setattr(norm._scale, "compiled", lambda *x: (calls.append(len(x)), real(*x)))
    plain, losses, adapter = curve(path, tmp_path / "plain")
    assert not calls
    result, compiled, ours = curve(path, tmp_path / "compiled", torch_compile=True)
    assert calls
    assert not plain.plan.compiled
    assert result.plan.compiled
    assert "norms and gates" in result.plan.compiling
    assert not rows._Now.compiled, "the next run of this process decides for itself"
    assert compiled == pytest.approx(losses, rel=1e-5)
    assert max(distance(ours[name], tensor) for name, tensor in adapter.items()) < 1e-3
    stop = StopAtTheThird()
    out = tmp_path / "again"
    assert train(path, stop, stop, output_dir=str(out), torch_compile=True).status == "stopped"
    result, *_ = curve(path, out)  # not asked for again: as at the first start
    assert result.plan.compiled
    name = "adapter_model.safetensors"
    assert (out / name).read_bytes() == (tmp_path / "compiled" / name).read_bytes()


def test_a_compiler_that_fails_stops_only_who_asked_for_it(tmp_path, monkeypatch):
    path = tiny_run(tmp_path)

    def broken(_device):
        raise ConfigError("torch_compile", got=True, need="a compiler that works: no omp.h")

    monkeypatch.setattr(rows, "try_compiler", broken)
    with pytest.raises(ConfigError, match="torch_compile"):
        train(path, output_dir=str(tmp_path / "asked"), torch_compile=True)
    assert not (tmp_path / "asked").exists()
    monkeypatch.setattr(compiling, "_WORTH", 0.0)
    result = train(path, output_dir=str(tmp_path / "auto"))
    assert result.plan.compiling == "off: it takes a compiler that works: no omp.h"
    assert not result.plan.compiled

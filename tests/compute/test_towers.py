"""A module is watched once and then given its output; nothing else may notice."""

import threading
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tunesmith.compute import towers


class Encoder(nn.Module):
    """Its output has a tensor, a list of them, and one that nobody asks for."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        states = [x * self.weight, x * 2, x * 3]
        return SimpleNamespace(last=states[-1], states=states, unasked=x, nothing=None)


class Whole(nn.Module):
    """Takes some of what its tower makes."""

    def __init__(self):
        super().__init__()
        self.tower = Encoder()

    def forward(self, x):
        out = self.tower(x)
        out.pooled = out.states[-2] + out.last
        return out.pooled + out.states[0]


def test_only_what_is_asked_for_is_found():
    model, x = Whole(), torch.randn(2, 3)
    tower = towers.install(model, model.tower)
    plain = model(x)
    with tower.watching() as found:
        assert torch.equal(model(x), plain)
    assert set(found) == {"states.-2", "last", "states.0"}
    assert torch.equal(found["states.-2"], x * 2)


def test_given_the_output_nothing_is_computed_and_all_is_the_same():
    model, x = Whole(), torch.randn(2, 3)
    tower = towers.install(model, model.tower)
    with tower.watching() as found:
        plain = model(x)
    calls = model.tower.calls
    with towers.giving(model, found):
        assert torch.equal(model(torch.zeros(2, 3)), plain)
    assert model.tower.calls == calls
    with towers.giving(model, None):
        assert torch.equal(model(x), plain)
    assert model.tower.calls == calls + 1
    assert towers.install(model, model.tower) is tower


def test_lists_are_given_whole_to_who_walks_through_them():
    model, x = Whole(), torch.randn(2, 3)
    tower = towers.install(model, model.tower)
    with tower.watching() as found:
        walked = list(model.tower(x).states)
    with tower.giving(found):
        states = model.tower(x).states
        assert len(states) == 3
        assert all(torch.equal(a, b) for a, b in zip(states, walked, strict=True))


def test_what_was_never_asked_for_is_not_made_up():
    model, x = Whole(), torch.randn(2, 3)
    tower = towers.install(model, model.tower)
    with tower.watching() as found:
        model(x)
    with pytest.raises(AttributeError, match="unasked"), tower.giving(found):
        assert model.tower(x).unasked is None


def test_features_that_nobody_takes_are_an_error():
    model = Whole()
    tower = towers.install(model, model.tower)
    with pytest.raises(AssertionError, match="no fewer"), tower.giving({}):
        pass


def test_another_thread_computes_meanwhile():
    model, x = Whole(), torch.randn(2, 3)
    tower, seen = towers.install(model, model.tower), {}
    with tower.watching() as found:
        plain = model(x)

    def compute():
        with tower.watching() as other:
            seen["out"] = model(x + 1)
        seen["found"] = other

    with tower.giving(found):
        thread = threading.Thread(target=compute)
        thread.start()
        thread.join()
        assert torch.equal(model(x), plain)
    assert torch.equal(seen["found"]["states.-2"], (x + 1) * 2)


def test_the_module_is_left_as_it_was():
    model, x = Whole(), torch.randn(2, 3)
    names = set(model.state_dict())
    with towers.watched(model.tower) as found:
        model(x)
    assert found
    assert "forward" not in vars(model.tower)
    with towers.watched(model.tower), towers.watched(model.tower):
        pass
    assert "forward" not in vars(model.tower)
    towers.install(model, model.tower)
    assert set(model.state_dict()) == names

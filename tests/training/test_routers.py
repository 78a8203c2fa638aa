"""The picture of what routers chose."""

import io

import numpy as np
import pytest

from tunesmith.training import plots, routers


def records(layers, experts, count=5):
    rng = np.random.default_rng(0)
    load = rng.dirichlet(np.ones(experts), (count, layers))
    return [
        {"current_steps": 2 * n, "loss": 1.0, "aux_loss": 2.1, "router_entropy": 0.9,
         "router_dropped": 0, "router_load": load[n].tolist()}
        for n in range(count)
    ]  # fmt: skip


def pixels(png):
    from matplotlib.image import imread

    return imread(io.BytesIO(png))


@pytest.mark.parametrize(("layers", "experts"), [(1, 2), (3, 8), (40, 128)])
def test_any_number_of_layers_and_experts_is_drawn(layers, experts):
    shown = pixels(routers.draw(records(layers, experts), "mine"))
    assert shown.shape[1] > 1000
    assert shown.std() > 0.02


def test_another_load_is_another_picture():
    some = records(2, 4)
    other = [{**r, "router_load": [[0.25] * 4] * 2} for r in some]
    assert (pixels(routers.draw(some)) != pixels(routers.draw(other))).any()


def test_it_stands_beside_the_curves_where_there_are_routers():
    assert plots.ROUTERS in plots.draw(records(2, 4))
    assert plots.ROUTERS not in plots.draw([{"current_steps": 1, "loss": 1.0}])

"""Questions about pictures: what travels, and the answer that training's own reading gives."""

import torch
from PIL import Image

from tiny_model import tiny_model
from tunesmith.export import said as saying
from tunesmith.export.sights import PLACE, Sight, continued, packed
from tunesmith.models.load import load_model


def test_a_picture_travels_to_the_last_bit():
    drawn = Image.effect_noise((31, 17), 80).convert("RGB")
    sight = Sight([{"role": "user", "content": f"{PLACE}{PLACE}?"}], [packed(drawn)] * 2, "<a><b>")
    assert [picture.tobytes() for picture in sight.opened()] == [drawn.tobytes()] * 2
    assert sight.said() == [{"role": "user", "content": "<a><b><a><b>?"}]


def test_without_pictures_it_is_the_greedy_answer(tmp_path):
    model = load_model(tiny_model(tmp_path), dtype=torch.float32)
    answer, steps = continued(model, list(range(5, 20)), None, 5)
    want, numbers = saying.greedy(model, list(range(5, 20)), 5)
    assert answer == want
    torch.testing.assert_close(steps, numbers, rtol=1e-5, atol=1e-5)

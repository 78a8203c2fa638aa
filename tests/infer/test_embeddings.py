import torch

from tiny_model import tiny_model
from tunesmith.infer.embeddings import embed
from tunesmith.models.load import load_model


def test_it_is_the_mean_of_the_last_hidden_states_of_length_one(tmp_path):
    model = load_model(tiny_model(tmp_path), dtype=torch.float32).eval()
    ids = [5, 9, 2, 77]
    with torch.inference_mode():
        hidden = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1]
    wanted = hidden[0].mean(0)
    torch.testing.assert_close(embed(model, ids), wanted / wanted.norm())

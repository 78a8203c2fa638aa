"""The merged directory is written from the model in memory."""

import json

import torch

from tiny_model import tiny_model
from tunesmith.export import merged
from tunesmith.export.job import Job, Serving
from tunesmith.export.proof import Loading
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.card import CardFacts
from tunesmith.models.load import load_model


def test_it_is_a_whole_directory_in_the_stored_type(tmp_path):
    base = tiny_model(tmp_path)
    serving = Serving(tokenizers.load(base), "{{ 1 }}", ("<|im_end|>",), "FROM .\n")
    about = CardFacts("m", str(base), is_adapter=False)
    job = Job(base, (), {}, serving, torch.bfloat16, Loading(), 5, about)
    place = tmp_path / "out"
    place.mkdir()
    written = merged.FORMAT.write(job, load_model(base, dtype=torch.float32), place)
    assert (written.path, written.weights) == (place, "bfloat16")
    assert load_model(place, dtype=torch.bfloat16).dtype == torch.bfloat16
    assert (place / "Modelfile").read_text() == "FROM .\n"
    assert (place / "chat_template.jinja").read_text() == "{{ 1 }}"
    ends = json.loads((place / "generation_config.json").read_text())["eos_token_id"]
    assert ends == [serving.tokenizer.id_of("<|im_end|>")]
    assert merged.FORMAT.bytes_of(job, 10) == 20

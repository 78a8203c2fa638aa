"""What stands beside every export: stops, template, licences, card."""

from pathlib import Path

import torch

from tiny_model import tiny_model
from tiny_tokenizer import load_tiny
from tunesmith.export import job as jobs
from tunesmith.export.gate import Door
from tunesmith.export.job import Job, Serving
from tunesmith.export.proof import Loading, Proof
from tunesmith.models.card import CardFacts

PROOF = Proof(
    3,
    0.0,
    1.0,
    1.0,
    None,
    "float32",
    doors=(Door("logits", True, "the same"), Door("x", None, "-")),
)


def test_stops_are_those_of_the_template_first_and_only_tokens():
    serving = Serving(load_tiny(), stop_words=("</think>", "\nUser:"))
    assert serving.stops == ("</think>", "<|im_end|>")


def test_the_template_of_training_wins_over_the_tokenizers_own():
    own = load_tiny("{{ 1 }}")
    assert Serving(own).template == "{{ 1 }}"
    assert Serving(own, "{{ 2 }}").template == "{{ 2 }}"


def test_card_and_licence_stand_beside_the_weights(tmp_path):
    base = tiny_model(tmp_path)
    (base / "NOTICE").write_text("be kind")
    place = tmp_path / "out"
    place.mkdir()
    about = CardFacts("m", str(base), is_adapter=False)
    job = Job(base, (), {}, Serving(load_tiny()), torch.float32, Loading(), 5, about)
    jobs.write_beside(job, place, "q8_0", proof=PROOF, file="model-q8_0.gguf", notes=["mind this"])
    text = (place / "README.md").read_text()
    assert (place / "NOTICE").read_text() == "be kind"
    assert "library_name: gguf" in text
    assert "llama-cli -m model-q8_0.gguf" in text
    assert "mind this" in text
    assert "| logits | the same |" in text
    assert "| x |" not in text
    jobs.open_to_all(place)
    assert {path.stat().st_mode & 0o400 for path in Path(place).iterdir()} == {0o400}

"""The card of an export tells data, settings, metrics and the licence of the base."""

import json
from types import SimpleNamespace

import pytest

from tunesmith.cli.export_card import about, licence
from tunesmith.config.load import load
from tunesmith.models.card import card


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("---\nlicense: apache-2.0\ntags: []\n---\n# x", "apache-2.0"),
        ('---\ntags: []\nlicense: "mit"\n---\n', "mit"),
        ("# x\nlicense: mit\n", None),
        ("---\ntags: []\n---\nlicense: mit\n", None),
    ],
)
def test_the_licence_is_what_the_front_matter_of_the_base_states(tmp_path, text, said):
    (tmp_path / "README.md").write_text(text)
    assert licence(tmp_path) == said


def test_without_a_card_there_is_no_licence(tmp_path):
    assert licence(tmp_path) is None


def test_the_facts_of_a_run_stand_in_its_card(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "all_results.json").write_text(json.dumps({"eval_loss": 1.25, "note": "x"}))
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    asked = load(
        None,
        {
            "model_name_or_path": "own/base",
            "output_dir": str(out),
            "learning_rate": 1e-4,
            "hf_hub_token": "hf_secret",
        },
    )
    part = SimpleNamespace(dataset="tiny", used=12)
    data = SimpleNamespace(mix=[part], eval=[1, 2])
    text = card(about(asked, tmp_path, tmp_path / "export", tuned=True, data=data))
    for said in ("| tiny | 12 |", "2 further rows", "1.2500", "learning_rate", "license: mit"):
        assert said in text
    assert "hf_secret" not in text
    untuned = about(asked, tmp_path, tmp_path / "export", tuned=False, data=data)
    assert not untuned.settings
    assert not untuned.metrics

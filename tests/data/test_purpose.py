"""A dataset that this stage would learn wrongly is refused with the entry that would do."""

import json

import pytest

from tiny_tokenizer import load_tiny
from tunesmith.data import registry
from tunesmith.data.prepare import prepare
from tunesmith.data.purpose import UnfitError, note, of_answers, refusal
from tunesmith.templates import choose

TOKENIZER = load_tiny()
TURN = {"role": "user", "content": "<image>q"}
SAID = {"role": "assistant", "content": "good"}
TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user"}
TAGS["assistant_tag"] = "assistant"
UNFIT = {
    "pairs of texts": (
        {"ranking": True, "columns": {"prompt": "q", "chosen": "c", "rejected": "r"}},
        {"q": "q", "c": "good", "r": "bad"},
        "pairs of a chosen and a rejected answer (ranking: true)",
    ),
    "pairs of messages": (
        {
            "ranking": True,
            "formatting": "sharegpt",
            "columns": {"messages": "m", "chosen": "c", "rejected": "r"},
            "tags": TAGS,
        },
        {"m": [TURN], "c": SAID, "r": {**SAID, "content": "bad"}},
        "pairs of a chosen and a rejected answer (ranking: true)",
    ),
    "labels": (
        {"columns": {"prompt": "q", "response": "c", "kto_tag": "l"}},
        {"q": "q", "c": "good", "l": True},
        "answers labelled good or bad (kto_tag: l)",
    ),
    "media": (
        {"formatting": "openai", "columns": {"messages": "m", "images": "i"}},
        {"m": [TURN, SAID], "i": ["1.jpg"]},
        "rows with images (images: i)",
    ),
}


def write(directory, info, row, name="rows.jsonl"):
    (directory / name).write_text(json.dumps(row))
    registered = json.dumps({"d": {"file_name": name, **info}}, indent=1)
    (directory / "dataset_info.json").write_text(registered)


def prepared(directory, item):
    chatml = choose("chatml", TOKENIZER)
    return prepare(
        dataset=[item], dataset_dir=directory, renderer=chatml, tokenizer=TOKENIZER, cutoff_len=99
    )


@pytest.mark.parametrize(("info", "row", "got"), UNFIT.values(), ids=UNFIT)
def test_it_is_refused_and_the_line_that_the_error_gives_is_learned_from(
    tmp_path, monkeypatch, info, row, got
):
    write(tmp_path, info, row)
    with pytest.raises(UnfitError) as error:
        prepared(tmp_path, "d")
    assert error.value.where == f"{tmp_path / 'dataset_info.json'}:2: d"
    assert error.value.got == got
    assert "stage sft" in error.value.need or "text" in error.value.need
    _, entry = error.value.hint.split(": ", 1)
    monkeypatch.chdir(tmp_path)
    made = prepared(tmp_path, json.loads(entry))
    assert len(made.train) == 1
    assert TOKENIZER.backend.decode(made.train[0].ids[made.train[0].trained]).strip() == "good"
    (told,) = made.ledger.files.values()
    assert (told.read, told.used) == (1, 1)


def test_a_plain_path_is_refused_once_its_rows_are_seen(tmp_path):
    row = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    write(tmp_path, {}, row)
    path = str(tmp_path / "rows.jsonl")
    with pytest.raises(UnfitError, match=r"rows\.jsonl") as error:
        prepared(tmp_path, path)
    assert "(ranking: true)" in error.value.got
    assert len(prepared(tmp_path, json.loads(error.value.hint.split(": ", 1)[1])).train) == 1


def test_it_is_refused_before_anything_is_downloaded(tmp_path, monkeypatch):
    info = {"hf_hub_url": "a/b", "ranking": True}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"d": info}))
    monkeypatch.setattr("tunesmith.data.prepare.fetch", lambda *_: pytest.fail("fetched"))
    with pytest.raises(UnfitError, match=r"dataset_info\.json:1: d") as error:
        prepared(tmp_path, "d")
    assert '"hf_hub_url": "a/b"' in error.value.hint


def test_running_text_is_for_another_stage(tmp_path):
    write(tmp_path, {"formatting": "text"}, {"text": "long"})
    with pytest.raises(UnfitError, match="rows without answers"):
        prepared(tmp_path, "d")


def test_answers_are_what_the_stage_learns_from(tmp_path):
    write(tmp_path, {}, {"instruction": "q", "output": "a"})
    entries = registry.load(tmp_path, ["d"])
    assert of_answers(entries) == entries
    assert refusal(entries[0]) is None


def test_a_report_names_dataset_reason_and_what_would_do(tmp_path):
    write(tmp_path, *UNFIT["labels"][:2])
    (entry,) = registry.load(tmp_path, ["d"])
    said = note(entry, refusal(entry))
    assert said.startswith("d: not for stage sft: answers labelled good or bad (kto_tag: l); ")
    assert said.endswith('{"file_name": "rows.jsonl", "columns": {"prompt": "q", "response": "c"}}')

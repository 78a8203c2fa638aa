"""An export is asked for the prompts of held-out conversations, as training wrote them."""

import json

from tiny_run import tiny_run
from tunesmith.cli import answering, target
from tunesmith.cli.export_rows import Given, probes
from tunesmith.cli.main import main
from tunesmith.training.material import examples
from tunesmith.training.report import Silent

TURNS = [
    {"from": "human", "value": "How are you? 2 + 2"},
    {"from": "gpt", "value": " Four. "},
    {"from": "human", "value": "你好\n\n and more"},
    {"from": "gpt", "value": "hello"},
]
ENTRY = {"formatting": "sharegpt", "columns": {"messages": "turns", "system": "system"}}


def _found(tmp_path, rows, **keys):
    path = tiny_run(tmp_path, rows=rows, entry=ENTRY, **keys)
    asked = target.read(str(path), ())
    found = answering.find(asked, Silent())
    return found, examples(asked, found.renderer, found.tokenizer, Silent())


def _rows(count):
    return [
        {"turns": [{"from": "human", "value": f"row {i}"}, *TURNS[1:]], "system": "Be brief."}
        for i in range(count)
    ]


def test_held_out_conversations_come_with_the_prompt_of_training(tmp_path):
    found, rows = _found(tmp_path, _rows(6), val_size=2)
    given = probes(Given(found, rows), 8)
    assert [probe.ids for probe in given] == [example.ids.tolist() for example in rows.eval]
    for probe in given:
        system, first, *_, last = probe.messages
        assert system == {"role": "system", "content": "Be brief."}
        assert first["content"].startswith("row ")
        assert last == {"role": "user", "content": TURNS[2]["value"]}
        text = found.tokenizer.backend.decode(probe.prompt, skip_special_tokens=False)
        assert text.endswith("<|im_start|>assistant\n")
        assert probe.ids[: len(probe.prompt)] == probe.prompt
        assert len(probe.prompt) < len(probe.ids)


def test_without_held_out_rows_those_learned_from_are_asked(tmp_path):
    found, rows = _found(tmp_path, _rows(3))
    assert len(probes(Given(found, rows), 2)) == 2
    assert all(probe.messages for probe in probes(Given(found, rows), 8))


def test_a_row_that_was_cut_is_asked_without_its_prompt(tmp_path):
    found, rows = _found(tmp_path, _rows(2), cutoff_len=40)
    assert [probe.messages for probe in probes(Given(found, rows), 8)] == [None, None]


def test_words_that_spell_a_control_token_are_asked_as_ids_alone(tmp_path):
    rows = _rows(2)
    rows[0]["turns"] = [{"from": "human", "value": "what is <|im_end|>?"}, TURNS[1]]
    found, prepared = _found(tmp_path, rows)
    assert [probe.messages is None for probe in probes(Given(found, prepared), 8)] == [True, False]


def test_a_template_that_writes_another_history_is_found_in_held_out_conversations(
    tmp_path, capsys, monkeypatch
):
    path = tiny_run(tmp_path, rows=_rows(6), entry=ENTRY, val_size=2, max_steps=1)
    assert main(["train", str(path)]) == 0
    capsys.readouterr()
    assert main(["export", str(path), "--json"]) == 0
    doors = json.loads(capsys.readouterr().out)["proof"]["doors"]
    assert doors[1]["said"] == "equal for 3 conversations"
    from tunesmith import templates

    honest = templates.jinja_to_serve

    def other(*given):  # the same but for earlier answers, which it strips
        turns = (
            "{% set turns = namespace(all=[]) %}{% for m in messages %}{% set turns.all = turns.all"
            " + [dict(m, content=m.content.strip() if m.role == 'assistant' else m.content)] %}"
            "{% endfor %}{% set messages = turns.all %}"
        )
        return turns + honest(*given)

    monkeypatch.setattr(templates, "jinja_to_serve", other)
    assert main(["export", str(path), f"export_dir={tmp_path / 'other'}"]) == 2
    assert "prompt ids: 2 of 3 conversations differ" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()

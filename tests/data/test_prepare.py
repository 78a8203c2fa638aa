"""From files to examples: nothing is lost without a line, and the same input gives the same."""

import json
from pathlib import Path

import pytest

from tiny_tokenizer import load_tiny
from tunesmith.data.prepare import prepare
from tunesmith.errors import ConfigError, DataError
from tunesmith.templates import Asked, choose

DEMO = Path(__file__).parents[3] / "shared" / "data"
TOKENIZER = load_tiny()
NO_SYSTEM = (
    "{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATML = choose("chatml", TOKENIZER)


def alpaca(count, start=0):
    return [{"instruction": f"ask {i}", "output": f"say {i}"} for i in range(start, start + count)]


def sharegpt(count):
    say = [("human", "one"), ("gpt", "two"), ("human", "three"), ("gpt", "four")]
    turns = [{"from": role, "value": word} for role, word in say]
    return [{"conversations": [{"from": "system", "value": f"S{i}"}, *turns]} for i in range(count)]


def write(directory, **datasets):
    """Each dataset is rows, raw text, or (rows, further keys of its entry)."""
    info = {}
    for name, rows in datasets.items():
        rows, entry = rows if isinstance(rows, tuple) else (rows, {})
        text = rows if isinstance(rows, str) else json.dumps(rows, indent=1)
        (directory / f"{name}.json").write_text(text)
        info[name] = {"file_name": f"{name}.json", **entry}
    (directory / "dataset_info.json").write_text(json.dumps(info))


def run(directory, *names, **options):
    options = {"cutoff_len": 2048, "renderer": CHATML, "tokenizer": TOKENIZER, **options}
    return prepare(dataset=names, dataset_dir=directory, **options)


def text_of(example):
    return TOKENIZER.backend.decode(example.ids.tolist(), skip_special_tokens=False)


def learned(example):
    ids = example.ids[example.trained].tolist()
    return TOKENIZER.backend.decode(ids, skip_special_tokens=False)


def test_datasets_follow_one_another_and_keep_their_places(tmp_path):
    write(tmp_path, a=alpaca(3), b=(sharegpt(2), {"formatting": "sharegpt"}))
    prepared = run(tmp_path, "b", "a")
    assert [(e.origin.dataset, e.origin.row) for e in prepared.train] == [
        ("b", 1), ("b", 2), ("a", 1), ("a", 2), ("a", 3),
    ]  # fmt: skip
    assert prepared.train[2].origin.line == 2
    assert len(prepared.eval) == 0
    first = prepared.train[0]
    assert text_of(first).startswith("<|im_start|>system\nS0<|im_end|>\n<|im_start|>user\none")
    assert learned(first) == "two<|im_end|>four<|im_end|>"
    assert (first.ids.dtype, first.trained.dtype, first.trained[0]) == ("int32", "bool", False)


def test_max_samples_takes_the_first_rows_of_each_dataset(tmp_path):
    write(tmp_path, a=alpaca(5), b=alpaca(2, start=9))
    prepared = run(tmp_path, "a", "b", max_samples=3)
    assert [(e.origin.dataset, e.origin.row) for e in prepared.train] == [
        ("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2),
    ]  # fmt: skip
    counts = [account.read for account in prepared.ledger.files.values()]
    assert counts == [3, 2]


@pytest.mark.parametrize(("val_size", "held"), [(0, 0), (0.1, 2), (1, 1), (1.0, 1), (7, 7)])
def test_val_size_holds_rows_out(tmp_path, val_size, held):
    write(tmp_path, a=alpaca(11))
    prepared = run(tmp_path, "a", val_size=val_size)
    assert (len(prepared.train), len(prepared.eval)) == (11 - held, held)
    rows = [e.origin.row for e in (*prepared.train, *prepared.eval)]
    assert sorted(rows) == list(range(1, 12))


def test_an_eval_dataset_is_held_out_whole(tmp_path):
    write(tmp_path, a=alpaca(4), b=alpaca(3, start=2))
    prepared = run(tmp_path, "a", eval_dataset=["b"])
    assert (len(prepared.train), len(prepared.eval)) == (4, 3)
    assert prepared.num_leaked == 2
    assert any("held out and trained on as well: 2 rows" in n for n in prepared.ledger.notes)


@pytest.mark.parametrize("options", [{"eval_dataset": ["a"], "val_size": 0.1}, {"val_size": 1.5},
                                     {"val_size": -1}, {"val_size": 3}])  # fmt: skip
def test_a_val_size_that_cannot_be_is_refused(tmp_path, options):
    write(tmp_path, a=alpaca(3))
    with pytest.raises(ConfigError) as error:
        run(tmp_path, "a", **options)
    assert error.value.where == "val_size"


def test_all_bad_rows_are_told_at_once_and_skip_goes_on(tmp_path):
    rows = alpaca(6)
    rows[1]["output"] = ""
    rows[3] = {"instruction": "x"}
    rows[4]["output"] = ""
    write(tmp_path, a=rows)
    with pytest.raises(DataError) as error:
        run(tmp_path, "a")
    file = tmp_path / "a.json"
    assert error.value.where == f"{file}:6: output"
    assert str(error.value).count(f"{file}:") == 4
    assert "empty answer: 2 rows" in str(error.value)
    assert "missing column: 1 row" in str(error.value)
    assert "on_bad_row=skip" in str(error.value).splitlines()[-1]
    prepared = run(tmp_path, "a", on_bad_row="skip")
    assert [e.origin.row for e in prepared.train] == [1, 3, 6]
    assert prepared.ledger.lines()[0] == f"{file}: 6 rows read = 3 used + 3 skipped"


def test_no_usable_rows_is_an_error_that_says_why(tmp_path):
    write(tmp_path, a=[{"instruction": "x"}])
    with pytest.raises(DataError, match="1 read, 1 missing column"):
        run(tmp_path, "a", on_bad_row="skip", val_size=0.1)
    write(tmp_path, a=alpaca(3))
    with pytest.raises(DataError, match="3 over_cutoff") as error:
        run(tmp_path, "a", cutoff_len=8)
    assert error.value.hint.startswith("cutoff_len: ")
    write(tmp_path, a=[])
    with pytest.raises(DataError, match="no rows"):
        run(tmp_path, "a")


def test_over_long_rows_do_not_stop_the_run(tmp_path):
    rows = [*alpaca(3), {"instruction": "x", "output": "long " * 100}]
    write(tmp_path, a=rows)
    prepared = run(tmp_path, "a", cutoff_len=64)
    assert len(prepared.train) == 3
    assert any("1 of 4 rows do not fit" in note for note in prepared.ledger.notes)
    assert all(len(example.ids) <= 64 for example in prepared.train)


def test_columns_that_are_there_but_not_read_are_named_with_the_line_to_add(tmp_path):
    rows = alpaca(4)
    rows[0]["system"] = rows[1]["system"] = "S"
    rows[2]["system"] = ""
    rows[3]["history"] = [["q", "a"]]
    write(tmp_path, a=rows)
    (note,) = run(tmp_path, "a").ledger.notes
    assert "columns that are not read: 'history' in 1, 'system' in 2 of 4 rows" in note
    assert note.endswith(
        '"columns": {"prompt": "instruction", "response": "output", "history": "history", '
        f'"system": "system"}} in {tmp_path / "dataset_info.json"}:1: a'
    )


def test_columns_that_an_entry_names_and_no_row_has_are_told(tmp_path):
    columns = {"prompt": "instruction", "response": "output", "tools": "tols", "system": "system"}
    write(tmp_path, a=(alpaca(4), {"columns": columns}))
    (note,) = [note for note in run(tmp_path, "a").ledger.notes if "no row has" in note]
    assert f"no row has: 'tols' (tools), named in {tmp_path / 'dataset_info.json'}:1: a" in note
    rows = [*alpaca(3), {**alpaca(1)[0], "tols": "[]"}]
    write(tmp_path, a=(rows, {"columns": columns}))
    assert not [note for note in run(tmp_path, "a").ledger.notes if "no row has" in note]


def test_keys_of_messages_that_are_not_read_are_counted(tmp_path):
    rows = json.loads(json.dumps(sharegpt(3)))  # turns of their own
    rows[0]["conversations"][1] |= {"name": "Ann", "id": None}
    rows[2]["conversations"][2] |= {"name": "Bob", "score": 0}
    write(tmp_path, a=(rows, {"formatting": "sharegpt"}))
    (note,) = run(tmp_path, "a").ledger.notes
    assert note.endswith("keys of messages that are not read: 'name' in 2, 'score' in 1 of 3 rows")


def test_a_message_of_weight_0_is_shown_and_not_learned(tmp_path):
    rows = sharegpt(1)
    rows[0]["conversations"][2]["weight"] = 0
    write(tmp_path, a=(rows, {"formatting": "sharegpt"}))
    (example,) = run(tmp_path, "a").train
    assert "two" in text_of(example)
    assert learned(example) == "four<|im_end|>"
    whole = run(tmp_path, "a", train_on_prompt=True)
    assert "1 rows mark messages as context" in whole.ledger.notes[0]


def test_the_line_to_add_does_what_it_says(tmp_path):
    rows = alpaca(2)
    rows[0]["system"] = "S"
    write(tmp_path, a=rows)
    (note,) = run(tmp_path, "a").ledger.notes
    columns = json.loads("{" + note[note.index('"columns"') : note.rindex("}") + 1] + "}")
    write(tmp_path, a=(rows, columns))
    prepared = run(tmp_path, "a")
    assert prepared.ledger.notes == []
    assert "system\nS<|im_end|>" in text_of(prepared.train[0])


def test_a_file_named_otherwise_than_it_is_is_noted(tmp_path):
    write(tmp_path, a="\n".join(json.dumps(row) for row in alpaca(2)))
    (note,) = run(tmp_path, "a").ledger.notes
    assert note == f"{tmp_path / 'a.json'}: named .json, read as JSON lines (one object a line)"


def test_input_that_columns_leave_out_is_named(tmp_path):
    rows = [{**row, "input": "more"} for row in alpaca(2)]
    write(tmp_path, a=(rows, {"columns": {"prompt": "instruction", "response": "output"}}))
    prepared = run(tmp_path, "a")
    assert "columns that are not read: 'input' in 2 of 2 rows" in prepared.ledger.notes[0]
    assert "more" not in text_of(prepared.train[0])


def test_text_of_control_tokens_stays_text_and_is_counted(tmp_path):
    rows = [*alpaca(2), {"instruction": "stop <|im_end|> here", "output": "<|im_start|>"}]
    write(tmp_path, a=rows)
    prepared = run(tmp_path, "a")
    end = TOKENIZER.id_of("<|im_end|>")
    assert [int((e.ids == end).sum()) for e in prepared.train] == [2, 2, 2]
    assert prepared.ledger.notes == [
        "1 row with the text of a control token among their words; it stays text "
        f"(first: {tmp_path / 'a.json'}:10 (row 3))"
    ]


def test_control_tokens_in_words_become_tokens_where_the_run_says_so(tmp_path):
    rows = [*alpaca(2), {"instruction": "stop <|im_end|> here", "output": "yes"}]
    write(tmp_path, a=rows)
    prepared = run(tmp_path, "a", split_special_tokens=False)
    end = TOKENIZER.id_of("<|im_end|>")
    assert [int((e.ids == end).sum()) for e in prepared.train] == [2, 2, 3]
    assert prepared.ledger.notes == [
        "1 row with control tokens in their text (split_special_tokens: false) "
        f"(first: {tmp_path / 'a.json'}:10 (row 3))"
    ]
    assert prepared.fingerprint != run(tmp_path, "a").fingerprint


def test_thinking_and_call_tokens_in_answers_stay_single_and_are_counted(tmp_path):
    tiny = load_tiny()
    tiny.backend.add_tokens(["<think>", "</think>", "<tool_call>"])
    rows = [
        *alpaca(2),
        {"instruction": "<think> asked", "output": "<think>\nhm\n</think>\n\nyes"},
        {"instruction": "q", "output": "<tool_call> is what starts a call"},
    ]
    write(tmp_path, a=rows)
    note = (
        "the answers of 2 rows hold 3 of the tokenizer's thinking or tool-call tokens;"
        " each stays one token"
    )
    plain = run(tmp_path, "a", tokenizer=tiny, renderer=choose("chatml", tiny))
    assert plain.ledger.notes == [note]
    thinking = run(tmp_path, "a", tokenizer=tiny, renderer=choose("qwen3", tiny))
    assert thinking.ledger.notes == [note]  # not those of the empty thoughts it writes itself
    think = tiny.id_of("<think>")
    assert [int((e.ids == think).sum()) for e in thinking.train] == [1, 1, 2, 1]
    write(tmp_path, a=alpaca(2))
    assert run(tmp_path, "a", tokenizer=tiny, renderer=choose("qwen3", tiny)).ledger.notes == []


def test_a_thought_that_is_learned_in_a_text_of_its_own_is_counted_once(tmp_path):
    tiny = load_tiny()
    tiny.backend.add_tokens(["<think>", "</think>"])
    thought = "<think>\nhm\n</think>\n\n"
    turns = [("human", "a"), ("gpt", f"{thought}b"), ("human", "c"), ("gpt", f"{thought}d")]
    rows = [{"conversations": [{"from": who, "value": said} for who, said in turns]}]
    write(tmp_path, a=(rows, {"formatting": "sharegpt"}))
    found = run(tmp_path, "a", tokenizer=tiny, renderer=choose("qwen3", tiny))
    assert len(found.train) == 2
    assert found.ledger.notes[0].startswith("the answers of 1 row hold 4 of the tokenizer's")


@pytest.mark.parametrize(("thinking", "count"), [(True, 0), (None, 2), (False, 1)])
def test_rows_that_think_though_nothing_asks_for_it_are_counted(tmp_path, thinking, count):
    said = ("<think>\nhm\n</think>\n\nyes", "</think> 4", "no")
    write(tmp_path, a=[{"instruction": "q", "output": answer} for answer in said])
    renderer = choose("qwen3", TOKENIZER, Asked(enable_thinking=thinking))
    notes = run(tmp_path, "a", renderer=renderer).ledger.notes
    value = {None: "null", False: "false"}.get(thinking)
    rows = {1: "1 row", 2: "2 rows"}.get(count)
    assert [note.partition(": their")[0] for note in notes if "enable_thinking" in note] == (
        [f"{rows} with thoughts under enable_thinking: {value}"] if count else []
    )


def test_thoughts_that_are_not_learned_are_not_counted(tmp_path):
    thought = "<think>\nhm\n</think>\n\nyes"
    turns = [("human", "a"), ("gpt", thought), ("human", "c"), ("gpt", "d")]
    rows = [{"conversations": [{"from": who, "value": said} for who, said in turns]}]
    write(tmp_path, a=(rows, {"formatting": "sharegpt"}))
    renderer = choose("qwen3", TOKENIZER, Asked(enable_thinking=None))
    assert "enable_thinking" in str(run(tmp_path, "a", renderer=renderer).ledger.notes)
    masked = run(tmp_path, "a", renderer=renderer, mask_history=True)
    assert "enable_thinking" not in str(masked.ledger.notes)


def test_what_the_template_cannot_express_is_a_bad_row(tmp_path):
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    rows = [{"conversations": turns}, {"conversations": [{"from": "system", "value": "s"}, *turns]}]
    write(tmp_path, a=(rows, {"formatting": "sharegpt"}))
    strict = choose(None, TOKENIZER._replace(chat_template=NO_SYSTEM))
    with pytest.raises(DataError) as error:
        run(tmp_path, "a", renderer=strict)
    assert error.value.where.startswith(f"{tmp_path / 'a.json'}:14: ")
    assert len(run(tmp_path, "a", renderer=strict, on_bad_row="skip").train) == 1


def test_copies_are_counted(tmp_path):
    write(tmp_path, a=alpaca(3) + alpaca(2))
    prepared = run(tmp_path, "a")
    assert prepared.num_duplicates == 2
    assert "(row 4) is" in prepared.ledger.notes[0]


def test_the_fingerprint_changes_with_what_is_learned_and_with_nothing_else(tmp_path):
    write(tmp_path, a=alpaca(6))
    base = run(tmp_path, "a", val_size=2)
    assert run(tmp_path, "a", val_size=2).fingerprint == base.fingerprint
    (tmp_path / "a.json").write_text(json.dumps(alpaca(6)))  # the same rows, other white space
    again = run(tmp_path, "a", val_size=2)
    assert again.fingerprint == base.fingerprint
    assert again.source != base.source
    others = [
        run(tmp_path, "a", val_size=2, seed=7),
        run(tmp_path, "a", val_size=1),
        run(tmp_path, "a", val_size=2, train_on_prompt=True),
        run(tmp_path, "a", val_size=2, renderer=choose("alpaca", TOKENIZER)),
        run(tmp_path, "a", val_size=2, max_samples=5),
    ]
    assert len({p.fingerprint for p in [base, *others]}) == 6


def test_progress_is_told_while_rows_are_made_and_not_when_they_are_there(tmp_path):
    write(tmp_path, a=alpaca(400), b=alpaca(300))
    seen = []
    for _ in range(2):
        run(tmp_path, "a", "b", progress=seen.append)
        assert seen == [256, 512]


@pytest.mark.parametrize(
    ("name", "count"), [("alpaca_en_demo", 999), ("alpaca_zh_demo", 1000), ("identity", 91)]
)
def test_real_files_are_read_whole(name, count):
    if not DEMO.exists():
        pytest.skip("no demo data beside the checkout")
    prepared = run(DEMO, name, max_samples=200, val_size=0.1, cutoff_len=100_000)
    used = min(count, 200)
    assert (len(prepared.train) + len(prepared.eval), len(prepared.eval)) == (used, -(-used // 10))
    (account,) = prepared.ledger.files.values()
    assert (account.read, account.used) == (used, used)


def test_a_path_an_entry_and_a_name_follow_one_another_and_the_layout_is_told(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, a=alpaca(1))
    (tmp_path / "rows.jsonl").write_text(json.dumps(sharegpt(1)[0]))
    (tmp_path / "b.json").write_text(json.dumps([{"q": "one", "a": "two"}]))
    inline = {"file_name": "b.json", "columns": {"prompt": "q", "response": "a"}}
    prepared = run(tmp_path, "rows.jsonl", inline, "a")
    assert [e.origin.dataset for e in prepared.train] == ["rows.jsonl", "b.json", "a"]
    assert any("rows.jsonl: read as sharegpt (conversations" in n for n in prepared.ledger.notes)


def test_a_bad_entry_inline_has_the_place_that_the_run_gives(tmp_path):
    with pytest.raises(DataError) as error:
        run(tmp_path, {"file_name": "no.json"}, where=lambda key: f"run.yaml:3: {key}")
    assert error.value.where == "run.yaml:3: dataset.file_name"


def test_num_samples_takes_a_seeded_sample_and_max_samples_a_part_of_it(tmp_path):
    write(tmp_path, a=(alpaca(50), {"num_samples": 6}))
    taken = [e.origin.row for e in run(tmp_path, "a").train]
    assert len(taken) == 6
    assert taken == sorted(taken)
    assert taken != list(range(1, 7))
    assert taken == [e.origin.row for e in run(tmp_path, "a").train]
    assert taken != [e.origin.row for e in run(tmp_path, "a", seed=7).train]
    fewer = [e.origin.row for e in run(tmp_path, "a", max_samples=2).train]
    assert len(fewer) == 2
    assert set(fewer) < set(taken)


def test_a_dataset_of_several_files_is_told_of_as_one(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        file.write_text(json.dumps([{"instruction": "I", "output": "{{x}}"}]))
    write(tmp_path, d=([], {"cloud_file_name": f"file://{tmp_path}/parts"}))
    (tmp_path / "parts").mkdir()
    for file in files:
        file.rename(tmp_path / "parts" / file.name)
    prepared = run(tmp_path, "d")
    assert len(prepared.train) == 2
    assert [n for n in prepared.ledger.notes if "{{x}} in 2" in n]


def test_a_thought_of_the_data_is_learned_in_the_words_of_the_template(tmp_path):
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "reasoning_content": "hm"},
    ]
    write(tmp_path, d=([{"messages": turns}], {"formatting": "openai"}))
    (example,) = run(tmp_path, "d", renderer=choose("qwen3", TOKENIZER)).train
    assert learned(example).startswith("<think>\nhm\n</think>\n\nb")


def test_a_folder_given_as_a_path_has_the_layout_of_its_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chats").mkdir()
    for number in (1, 2):
        rows = "\n".join(json.dumps(row) for row in sharegpt(2))
        (tmp_path / "chats" / f"{number}.jsonl").write_text(rows)
    prepared = run(tmp_path, "./chats")
    assert len(prepared.train) == 4
    assert any("./chats: read as sharegpt" in note for note in prepared.ledger.notes)


def test_messages_in_a_table_are_read_from_their_json(tmp_path, monkeypatch):
    import csv

    monkeypatch.chdir(tmp_path)
    with (tmp_path / "chats.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["conversations"])
        table.writerow([json.dumps(sharegpt(1)[0]["conversations"])])
    entry = {"file_name": "chats.csv", "formatting": "sharegpt"}
    assert len(run(tmp_path, entry).train) == 1
    assert len(run(tmp_path, "chats.csv").train) == 1


def test_a_whole_reading_raises_nothing_for_rows_and_says_what_would_have_been(tmp_path):
    write(tmp_path, a=[*alpaca(3), {"instruction": "x", "output": ""}], b=[{"instruction": "x"}])
    prepared = run(tmp_path, "a", "b", whole=True)
    with pytest.raises(DataError) as error:
        run(tmp_path, "a", "b")
    assert str(prepared.refusal) == str(error.value)
    assert [entry.name for entry, _ in prepared.entries] == ["a", "b"]
    assert (len(prepared.train), prepared.ledger.bad) == (3, 2)
    assert run(tmp_path, "a", "b", whole=True, on_bad_row="skip").refusal is None
    nothing = run(tmp_path, "b", whole=True, val_size=0.5, on_bad_row="skip")
    assert "no usable rows" in str(nothing.refusal)
    assert (len(nothing.train), nothing.ledger.num_read) == (0, 1)


def test_without_a_usable_row_the_hint_of_the_bad_ones_stays(tmp_path):
    write(tmp_path, a=sharegpt(2))
    nothing = run(tmp_path, "a", whole=True, on_bad_row="skip")
    assert "sharegpt" in nothing.ledger.skips()["missing column"].first[0].hint
    assert nothing.refusal.hint == nothing.ledger.skips()["missing column"].first[0].hint


def test_what_is_worth_knowing_about_used_rows_is_counted_by_kind(tmp_path):
    rows = alpaca(4)
    rows[1]["output"] = "a\u200bb <|im_end|>"
    write(tmp_path, a=[*rows, rows[0], rows[0]], b=rows[:2])
    for _ in range(2):  # made, and found again
        prepared = run(tmp_path, "a", eval_dataset=["b"])
        found = prepared.ledger.findings
        counts = {kind: finding.count for kind, finding in found.items()}
        assert counts == {"control_tokens": 2, "invisible": 2, "duplicates": 2, "leakage": 2}
        assert found["invisible"].first == [
            f"{tmp_path / 'a.json'}:6 (row 2)",
            f"{tmp_path / 'b.json'}:6 (row 2)",
        ]
    assert len([note for note in prepared.ledger.notes if "nobody sees" in note]) == 1


MIXED = {"mix_strategy": "interleave_over", "interleave_probs": (0.9, 0.1)}


def test_held_out_rows_never_come_in_the_mix_however_often_it_repeats(tmp_path):
    write(tmp_path, a=alpaca(12), b=(alpaca(40, start=20), {"num_samples": 100}))
    for seed in range(3):
        prepared = run(tmp_path, "a", "b", val_size=0.3, seed=seed, **MIXED)
        learned_from, held = ({e.origin for e in side} for side in (prepared.train, prepared.eval))
        assert len(prepared.train) > 2 * len(learned_from)
        assert len(held) == len(prepared.eval) == 16
        assert not learned_from & held
        assert len(learned_from) + len(held) == 52
        assert prepared.num_leaked == 0


def test_which_rows_are_held_out_does_not_depend_on_the_mix(tmp_path):
    write(tmp_path, a=alpaca(12), b=alpaca(40, start=20))
    found = [run(tmp_path, "a", "b", val_size=5, **mix).eval for mix in ({}, MIXED)]
    assert [e.origin for e in found[0]] == [e.origin for e in found[1]]


def test_a_repeat_of_the_mix_is_no_copy_and_a_copy_is_one_however_often_it_comes(tmp_path):
    rows = alpaca(5)
    write(tmp_path, a=[*rows, rows[2]], b=alpaca(60, start=20))
    prepared = run(tmp_path, "a", "b", mix_strategy="interleave_over")
    assert len(prepared.train) == 120
    assert prepared.num_duplicates == 1
    write(tmp_path, a=alpaca(2), b=[*alpaca(3, start=20), alpaca(1)[0]])
    prepared = run(tmp_path, "a", "b", mix_strategy="interleave_under")
    assert prepared.num_duplicates == 0  # the copy is among the rows that are left out


def test_what_the_mix_repeats_and_leaves_out_is_counted_by_dataset(tmp_path):
    write(tmp_path, a=alpaca(2), b=alpaca(5, start=20))
    lines = run(tmp_path, "a", "b", mix_strategy="interleave_under").mix_table
    assert [line.split() for line in lines[1:]] == [
        ["a", "2", "2", "50.0", "%", "0", "0"],
        ["b", "5", "2", "50.0", "%", "0", "3"],
    ]
    parts = run(tmp_path, "a", "b", mix_strategy="interleave_over").mix
    assert [(part.dataset, part.repeats, part.left_out) for part in parts] == [
        ("a", 3, 0), ("b", 0, 0),
    ]  # fmt: skip


def test_num_samples_beyond_the_rows_are_told_and_stored_once(tmp_path):
    write(tmp_path, a=(alpaca(3), {"num_samples": 7}), b=(alpaca(2, start=9), {"num_samples": 5}))
    prepared = run(tmp_path, "a", eval_dataset=["b"])
    assert [e.origin.row for e in prepared.train][:6] == [1, 2, 3, 1, 2, 3]
    assert (len(prepared.train), len(prepared.eval), prepared.num_duplicates) == (7, 2, 0)
    notes = "\n".join(prepared.ledger.notes)
    assert "a: num_samples 7 of 3 rows: training repeats them, evaluation does not" in notes
    assert "b: num_samples 5 of 2 rows: training repeats" in notes
    assert [account.read for account in prepared.ledger.files.values()] == [3, 2]
    again = run(tmp_path, "a", eval_dataset=["b"])  # from the cache
    assert again.fingerprint == prepared.fingerprint
    assert len(run(tmp_path, "a", eval_dataset=["b"], max_samples=2).train) == 2


def test_num_samples_counts_the_rows_that_can_be_used(tmp_path):
    rows = alpaca(4)
    rows[1]["output"] = ""
    write(tmp_path, a=(rows, {"num_samples": 9}))
    prepared = run(tmp_path, "a", on_bad_row="skip")
    assert [e.origin.row for e in prepared.train] == [1, 3, 4] * 3


def test_the_mix_and_its_seed_are_in_the_fingerprint_where_they_change_something(tmp_path):
    write(tmp_path, a=alpaca(3), b=alpaca(3, start=9))

    def of(**options):
        return run(tmp_path, "a", "b", **options).fingerprint

    drawn = {"mix_strategy": "interleave_once", "interleave_probs": (0.5, 0.5)}
    assert of(**drawn) == of(**drawn)
    assert len({of(), of(mix_strategy="interleave_over"), of(**drawn), of(**drawn, seed=1)}) == 4
    assert of(mix_strategy="interleave_over") == of(mix_strategy="interleave_once")


def test_a_dataset_of_which_the_mix_would_get_no_row_is_an_error(tmp_path):
    write(tmp_path, a=alpaca(3), b=[{"instruction": "x", "output": ""}])
    assert len(run(tmp_path, "a", "b", on_bad_row="skip").train) == 3
    with pytest.raises(DataError) as error:
        run(tmp_path, "a", "b", on_bad_row="skip", mix_strategy="interleave_under")
    assert error.value.where == "dataset: b"

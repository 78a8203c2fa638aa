"""The account of the rows: lines for people, one value for programs, the same numbers."""

import json

from tiny_tokenizer import load_tiny
from tunesmith.data import report
from tunesmith.data.prepare import prepare
from tunesmith.templates import choose

TOKENIZER = load_tiny()


def read(directory, *, mix_strategy="concat", **datasets):
    info = {}
    for name, rows in datasets.items():
        (directory / f"{name}.json").write_text(json.dumps(rows, indent=1))
        info[name] = {"file_name": f"{name}.json"}
    (directory / "dataset_info.json").write_text(json.dumps(info))
    data = prepare(
        dataset=list(datasets),
        dataset_dir=directory,
        renderer=choose("chatml", TOKENIZER),
        tokenizer=TOKENIZER,
        cutoff_len=2048,
        mix_strategy=mix_strategy,
        whole=True,
    )
    return report.Outcome.of(data)


def row(number, output="yes"):
    return {"instruction": f"ask {number}", "output": output}


def test_files_stand_below_one_another(tmp_path):
    data = read(tmp_path, long_name=[row(n) for n in range(1200)], b=[row(1), row(2, "")])
    first, second, *_ = report.text(data).splitlines()
    assert first == f"{tmp_path}/long_name.json  1,200 rows read = 1,200 used + 0 skipped"
    assert second == f"{tmp_path}/b.json              2 rows read =     1 used + 1 skipped"


def test_three_places_of_a_reason_are_shown_and_the_others_counted(tmp_path):
    data = read(tmp_path, a=[row(0), *(row(n, "") for n in range(1, 8)), row(9, 9)])
    lines = report.text(data).splitlines()
    at = lines.index("  empty answer  7")
    assert [line.split(":")[1] for line in lines[at + 1 : at + 4]] == ["6", "10", "14"]
    assert lines[at + 4 : at + 6] == ["    and 4 more", "  wrong type    1"]


def test_a_reason_ends_with_what_to_try(tmp_path):
    chat = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    data = read(tmp_path, a=[row(0), chat])
    hint = data.ledger.skips()["missing column"].first[0].hint
    assert "sharegpt" in hint
    assert f"    try {hint}" in report.text(data).splitlines()


def test_a_dataset_that_a_mix_cannot_draw_from_leaves_the_account_of_the_others(tmp_path):
    data = read(tmp_path, mix_strategy="interleave_over", a=[row(0)], b=[row(1, "")])
    assert data.refusal is not None
    told = report.text(data)
    assert "b.json  1 row read = 0 used + 1 skipped" in told
    assert "empty answer" in told
    assert report.as_dict(data)["stops"]


def test_lines_are_wrapped_below_their_own_indent(tmp_path):
    data = read(tmp_path, a=[{**row(1), "system": "s", "history": [["a", "b"]]}, row(2), row(2)])
    whole, narrow = report.text(data), report.text(data, width=60)
    notes = narrow.split("\nnotes\n")[1].split("\n\n")[0].splitlines()
    assert {line[:4] for line in notes} == {"  - ", "    "}
    assert " ".join(narrow.split()) == " ".join(whole.split())


def test_lines_and_value_tell_the_same(tmp_path):
    data = read(tmp_path, a=[row(1), row(1), row(2, "")], b=[row(4)])
    value, text = report.as_dict(data), report.text(data)
    assert json.loads(json.dumps(value)) == value
    assert (value["read"], value["used"], value["skipped"], value["bad"]) == (4, 3, 1, 1)
    assert value["error"]["where"].endswith("a.json:10: output")
    assert all(note in text for note in value["notes"])
    assert value["findings"]["duplicates"]["count"] == 1


def test_a_mix_stands_in_lines_of_its_own(tmp_path):
    rows = {"a": [row(1), row(2)], "b": [row(n) for n in range(3, 7)]}
    data = read(tmp_path, mix_strategy="interleave_under", **rows)
    lines = report.text(data).splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("mix_strategy"))
    assert lines[place - 1] == ""
    assert lines[place + 2].split() == ["b", "4", "2", "50.0", "%", "0", "2"]
    assert lines[place + 3 :] == ["", "examples  4 to train on, 0 held out"]
    assert [part["left_out"] for part in report.as_dict(data)["mix"]] == [0, 2]

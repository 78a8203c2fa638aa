"""Every key of an entry is known; what is wrong is named with its line."""

import json
from pathlib import Path

import pytest

from data_files import enter, refusal
from tunesmith.data import registry
from tunesmith.data.entry import OPENAI_COLUMNS, OPENAI_TAGS, Columns, Tags, kind, spelled_out


def test_an_entry_with_a_file_alone_is_alpaca_with_the_usual_names(tmp_path):
    enter(tmp_path, {"file_name": "a.json"})
    (entry,) = registry.load(tmp_path, ["mine"])
    assert (entry.paths, entry.formatting) == ((tmp_path / "a.json",), "alpaca")
    assert (entry.columns, entry.tags, entry.explicit_columns) == (Columns(), Tags(), False)
    assert entry.place == f"{tmp_path / 'dataset_info.json'}:5: mine"


def test_with_columns_what_they_do_not_name_is_not_read(tmp_path):
    columns = {"prompt": "q", "response": "a"}
    enter(tmp_path, {"file_name": "a.json", "columns": columns, "tags": None})
    (entry,) = registry.load(tmp_path, ["mine"])
    nothing = dict.fromkeys(Columns._fields)
    assert entry.columns._asdict() == nothing | columns
    assert entry.tags == Tags()


def test_with_tags_what_they_do_not_name_is_no_role(tmp_path):
    tags = {"role_tag": "r", "content_tag": "c", "user_tag": "u", "assistant_tag": "a"}
    enter(tmp_path, {"file_name": "a.json", "formatting": "sharegpt", "tags": tags})
    (entry,) = registry.load(tmp_path, ["mine"])
    assert entry.tags._asdict() == dict.fromkeys(Tags._fields) | tags
    assert entry.columns.messages == "conversations"


def test_an_entry_that_is_null_is_not_called_missing(tmp_path):
    error = refusal(tmp_path, None)
    assert error.need == "an object with file_name"
    assert error.where.endswith(": mine")


def test_a_file_may_stand_outside_the_directory(tmp_path):
    inside = tmp_path / "data"
    inside.mkdir()
    (tmp_path / "out.jsonl").write_text("{}")
    enter(inside, {"file_name": "../out.jsonl"})
    assert registry.load(inside, ["mine"])[0].paths == (inside / "../out.jsonl",)
    enter(inside, {"file_name": str(tmp_path / "out.jsonl")})
    assert registry.load(inside, ["mine"])[0].paths == (tmp_path / "out.jsonl",)


F = {"file_name": "a.json"}
S = {"file_name": "a.json", "formatting": "sharegpt"}


@pytest.mark.parametrize(
    ("entry", "place", "told"),
    [
        ({"file_nam": "a.json"}, "6: mine.file_nam", '"file_name"'),
        ({}, "5: mine", "no file_name"),
        ([], "5: mine", "an array"),
        ({"file_name": 3}, "6: mine.file_name", "text in quotes"),
        ({**F, "ranking": "yes"}, "7: mine.ranking", "true or false"),
        ({**F, "ranking": 1}, "7: mine.ranking", "true or false"),
        ({**F, "num_samples": True}, "7: mine.num_samples", "a whole number"),
        ({**F, "columns": []}, "7: mine.columns", "an object"),
        ({**F, "columns": {"promt": "x"}}, "8: mine.columns.promt", '"prompt"'),
        ({**F, "columns": {"prompt": 1}}, "8: mine.columns.prompt", "text in quotes"),
        ({**F, "tags": {"role": "x"}}, "8: mine.tags.role", '"role_tag"'),
        ({**F, "formatting": "sharegp"}, "7: mine.formatting", "sharegpt"),
        (
            {**F, "ranking": True, "columns": {"prompt": "p", "rejected": "r"}},
            "8: mine.columns",
            '"chosen": "chosen"',
        ),
        (
            {**S, "ranking": True, "columns": {"messages": "m", "chosen": "c"}},
            "9: mine.columns",
            '"rejected": "rejected"',
        ),
        (
            {**F, "ranking": True, "columns": {"chosen": "c", "rejected": "r"}},
            "8: mine.columns",
            '"prompt": "instruction"',
        ),
        (
            {**S, "ranking": True, "columns": {"chosen": "c", "rejected": "r"}},
            "9: mine.columns",
            '"messages": "conversations"',
        ),
        (
            {**S, "columns": {"messages": "m", "chosen": "c", "rejected": "r"}},
            "10: mine.columns.chosen",
            '"ranking": true',
        ),
        (
            {
                **F,
                "ranking": True,
                "columns": {"prompt": "p", "chosen": "c", "rejected": "r", "kto_tag": "t"},
            },
            "12: mine.columns.kto_tag",
            "one of the two",
        ),
        ({**F, "formatting": "text", "ranking": True}, "8: mine.ranking", "no answers"),
        (
            {**F, "formatting": "text", "columns": {"prompt": "p", "kto_tag": "t"}},
            "10: mine.columns.kto_tag",
            "no answers",
        ),
        ({**F, "subset": "x"}, "7: mine.subset", "which a file_name does not have"),
        ({**F, "split": "test"}, "7: mine.split", "which a file_name does not have"),
        ({**F, "folder": "x"}, "7: mine.folder", "which a file_name does not have"),
        ({**F, "num_samples": 0}, "7: mine.num_samples", "from 1"),
        ({**F, "fill": "x"}, "7: mine.fill", "an object"),
        ({**F, "fill": {"a": 1}}, "8: mine.fill.a", "text in quotes"),
        ({**F, "fill": {"{{a}}": "1"}}, "8: mine.fill.{{a}}", "without its braces"),
        (
            {**F, "formatting": "text", "columns": {"query": "q"}},
            "8: mine.columns",
            '"prompt": "text"',
        ),
        ({"cloud_file_name": "s3://x", "split": "test"}, "7: mine.split", "cloud_file_name"),
        ({**F, "columns": {"prompt": "p"}}, "7: mine.columns", '"response": "output"'),
        ({**F, "columns": {"response": "p"}}, "7: mine.columns", '"prompt": "instruction"'),
        ({**S, "columns": {"tools": "t"}}, "8: mine.columns", '"messages": "conversations"'),
        ({**S, "tags": {"user_tag": "u"}}, "8: mine.tags", '"role_tag": "from"'),
        ({"file_name": "aa.json"}, "6: mine.file_name", '"file_name": "a.json"'),
    ],
    ids=str,
)
def test_a_bad_entry_is_refused_with_its_line(tmp_path, entry, place, told):
    error = refusal(tmp_path, entry)
    assert error.where == f"{tmp_path / 'dataset_info.json'}:{place}"
    assert told in str(error)


def test_a_folder_is_a_place_for_rows_too(tmp_path):
    (tmp_path / "rows").mkdir()
    enter(tmp_path, {"file_name": "rows"})
    assert registry.load(tmp_path, ["mine"])[0].paths == (tmp_path / "rows",)


def test_a_hub_wins_over_a_script_over_a_cloud_over_a_file(tmp_path):
    keys = ["hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name", "file_name"]
    for i, key in enumerate(keys):
        enter(tmp_path, dict.fromkeys(reversed(keys[i:]), "a.json"))
        (entry,) = registry.load(tmp_path, ["mine"])
        assert (entry.source, entry.value) == (key, "a.json")
        assert entry.paths == ((tmp_path / "a.json",) if key == "file_name" else ())


def test_every_key_of_an_entry_is_kept(tmp_path):
    entry = {"hf_hub_url": "a/b", "subset": "s", "split": "test", "folder": "f", "num_samples": 3}
    enter(tmp_path, {**entry, "fill": {"name": "Ada"}})
    (found,) = registry.load(tmp_path, ["mine"])
    assert (found.subset, found.split, found.folder, found.num_samples) == ("s", "test", "f", 3)
    assert found.fill == {"name": "Ada"}
    assert found.base == tmp_path


def test_an_openai_entry_without_names_has_those_of_openai(tmp_path):
    enter(tmp_path, {**F, "formatting": "openai"})
    (entry,) = registry.load(tmp_path, ["mine"])
    assert (entry.columns, entry.tags) == (OPENAI_COLUMNS, OPENAI_TAGS)
    assert not entry.explicit_tags


def test_kinds_are_named_in_words():
    assert [kind(v) for v in ({}, [], "", True, None, 1)] == [
        "an object", "an array", "text", "true or false", "null", "a number",
    ]  # fmt: skip


@pytest.mark.parametrize("formatting", ["alpaca", "sharegpt", "openai"])
def test_pairs_without_columns_have_the_usual_names(tmp_path, formatting):
    enter(tmp_path, {**F, "formatting": formatting, "ranking": True})
    (entry,) = registry.load(tmp_path, ["mine"])
    assert entry.ranking
    assert (entry.columns.chosen, entry.columns.rejected) == ("chosen", "rejected")
    assert entry.columns.response is None


def test_columns_of_media_and_labels_are_read(tmp_path):
    columns = {"messages": "m", "images": "i", "videos": "v", "audios": "a", "kto_tag": "k"}
    enter(tmp_path, {**S, "columns": columns})
    (entry,) = registry.load(tmp_path, ["mine"])
    assert {k: v for k, v in entry.columns._asdict().items() if v} == columns
    assert not entry.ranking


def test_media_of_a_file_that_the_run_names_stand_beside_it(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    enter(tmp_path, {**F})
    items = ["mine", {"file_name": str(tmp_path / "a.json")}, str(tmp_path), "./a.json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        found = registry.load(tmp_path, items)
    assert [entry.base for entry in found] == [tmp_path, tmp_path, tmp_path, Path()]


def test_columns_of_running_text_are_told_what_says_so(tmp_path):
    error = refusal(tmp_path, {"file_name": "a.json", "columns": {"prompt": "text"}})
    assert error.hint == '"response": "output"; "formatting": "text" if \'text\' is running text'
    error = refusal(tmp_path, {"file_name": "a.json", "columns": {"response": "text"}})
    assert error.hint == '"prompt": "instruction"'


def test_an_entry_that_is_spelled_out_is_read_as_the_same(tmp_path):
    found = {
        "file_name": str(tmp_path / "a.json"), "formatting": "sharegpt", "ranking": True,
        "columns": {"messages": "m", "chosen": "c", "rejected": "r", "system": "s"},
        "tags": {"role_tag": "a", "content_tag": "b", "user_tag": "c", "assistant_tag": "d"},
        "num_samples": 3, "fill": {"name": "Ada"},
    }  # fmt: skip
    enter(tmp_path, {})
    (entry,) = registry.load(tmp_path, [found])
    assert registry.load(tmp_path, [json.loads(spelled_out(entry))]) == [entry]

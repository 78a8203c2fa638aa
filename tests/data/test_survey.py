"""Datasets of every kind are read and counted without a model, and their ledgers close."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from data_files import write
from tunesmith.data.survey import survey
from tunesmith.errors import DataError

DEMOS = Path(__file__).parents[3] / "shared" / "data"
PAIR = {"instruction": "q", "chosen": "a", "rejected": "b"}


def surveyed(directory, info, rows, *, name="rows.jsonl", **options):
    write(directory / name, rows)
    registered = {"d": {"file_name": name, **info}}
    (directory / "dataset_info.json").write_text(json.dumps(registered))
    return survey(dataset=["d"], dataset_dir=directory, **options)


def account(found):
    (one,) = found.ledger.files.values()
    return one.read, one.used, {reason: skips.count for reason, skips in one.skipped.items()}


def test_bad_pairs_are_counted_by_kind_and_stop_nothing(tmp_path):
    rows = [PAIR, {**PAIR, "chosen": None}, PAIR, {**PAIR, "rejected": 3}, {"instruction": "q"}]
    found = surveyed(tmp_path, {"ranking": True}, rows)
    bad = {"null instead of text": 1, "wrong type": 1, "missing column": 1}
    assert account(found) == (5, 2, bad)
    assert found.ledger.bad == 3
    (error,) = found.unfit
    assert "(ranking: true)" in error.got
    assert any(line.startswith("d: not for stage sft: pairs") for line in found.ledger.lines())


def test_answers_that_can_be_learned_are_fit(tmp_path):
    found = surveyed(tmp_path, {}, [{"instruction": "q", "output": "a"}])
    assert (account(found), found.unfit) == ((1, 1, {}), ())


KINDS = {
    "pairs": ({"ranking": True}, PAIR),
    "labels": (
        {"columns": {"prompt": "q", "response": "a", "kto_tag": "l"}},
        {"q": "q", "a": "a", "l": True},
    ),
    "media": (
        {"columns": {"prompt": "q", "response": "a", "images": "i", "audios": "s"}},
        {"q": "<image><image><audio>", "a": "a", "i": ["1.jpg", "1.jpg"], "s": "1.jpg"},
    ),
    "pairs of messages": (
        {"ranking": True, "formatting": "sharegpt"},
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "a"},
            "rejected": {"from": "gpt", "value": "b"},
        },
    ),
    "messages with a label": (
        {"formatting": "openai", "columns": {"messages": "m", "kto_tag": "l"}},
        {
            "m": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
            "l": False,
        },
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["json", "jsonl.gz", "csv", "tsv.zst", "parquet", "arrow"])
def test_every_type_of_file_holds_every_kind_of_row(tmp_path, kind, suffix):
    info, row = KINDS[kind]
    (tmp_path / "1.jpg").write_bytes(b"x")
    found = surveyed(tmp_path, info, [row, row], name=f"rows.{suffix}")
    assert account(found) == (2, 2, {})
    assert len(found.unfit) == 1


def test_media_may_stand_in_a_table_as_bytes(tmp_path):
    kind = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pictures = [[{"bytes": b"\xff\xd8", "path": "a.jpg"}], [{"bytes": None, "path": "gone.jpg"}]]
    table = pa.table({
        "q": ["<image>"] * 2, "a": ["a"] * 2, "pics": pa.array(pictures, kind),
        "other": pa.array([b"1", b"2"]),
    })  # fmt: skip
    columns = {"prompt": "q", "response": "a", "images": "pics"}
    found = surveyed(tmp_path, {"columns": columns}, table, name="rows.parquet")
    assert account(found) == (2, 1, {"media that is not there": 1})
    columns["query"] = "other"
    found = surveyed(tmp_path, {"columns": columns}, table, name="rows.parquet")
    assert account(found) == (2, 0, {"not a value of JSON": 2})


def test_media_are_looked_for_in_media_dir(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "1.jpg").write_bytes(b"x")
    info, row = KINDS["media"]
    assert account(surveyed(tmp_path, info, [row]))[1] == 0
    assert account(surveyed(tmp_path, info, [row], media_dir=tmp_path / "m"))[1] == 1


def test_a_plain_path_is_surveyed_as_what_its_rows_are(tmp_path):
    surveyed(tmp_path, {"ranking": True}, [PAIR])
    found = survey(dataset=[str(tmp_path / "rows.jsonl")], dataset_dir=tmp_path)
    assert account(found) == (1, 1, {})
    assert len(found.unfit) == 1
    assert "read as alpaca" in "\n".join(found.ledger.notes)


def test_held_out_datasets_are_counted_and_samples_are_taken(tmp_path):
    surveyed(tmp_path, {"ranking": True}, [PAIR] * 5)
    found = survey(dataset=[], eval_dataset=["d"], dataset_dir=tmp_path, max_samples=2)
    assert account(found) == (2, 2, {})


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "rows.jsonl").write_text("")
    (tmp_path / "dataset_info.json").write_text('{"d": {"file_name": "rows.jsonl"}}')
    with pytest.raises(DataError, match="rows"):
        survey(dataset=["d"], dataset_dir=tmp_path)


@pytest.mark.skipif(not DEMOS.exists(), reason="the demo files are not part of this repository")
@pytest.mark.parametrize(
    ("name", "count"),
    [("dpo_en_demo", 300), ("dpo_zh_demo", 300), ("kto_en_demo", 300), ("mllm_demo", 6),
     ("mllm_audio_demo", 3), ("mllm_video_demo", 3), ("mllm_video_audio_demo", 3)],
)  # fmt: skip
def test_the_demo_files_are_read_whole_by_name_and_as_a_path(name, count):
    for item in (name, str(DEMOS / f"{name}.json")):
        found = survey(dataset=[item], dataset_dir=DEMOS)
        assert account(found) == (count, count, {})
        assert len(found.unfit) == 1

"""Generated bad files: read with a closed ledger or refused with one error; never anything else."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from mutations import made
from tiny_tokenizer import load_tiny
from tunesmith.data.prepare import prepare
from tunesmith.data.survey import survey
from tunesmith.errors import DataError
from tunesmith.templates.choose import choose

TOKENIZER = load_tiny()
QWEN = choose("qwen", TOKENIZER)
SECONDS = 5


def what_becomes_of(bad, folder: Path, on_bad_row):
    """`read`, `skipped` or `refused`; anything that no user may meet fails."""
    began = time.process_time()
    found = error = None
    try:
        if on_bad_row == "look":
            found = survey(dataset=bad.dataset, dataset_dir=folder)
        else:
            found = prepare(
                dataset=bad.dataset, dataset_dir=folder, renderer=QWEN, tokenizer=TOKENIZER,
                cutoff_len=4096, on_bad_row=on_bad_row,
            )  # fmt: skip
    except DataError as told:
        error = told
    assert time.process_time() - began < SECONDS
    if found is None:
        assert error.where.startswith((str(folder), "dataset"))
        assert error.need
        assert len(str(error)) < 10_000
        return "refused"
    for file, account in found.ledger.files.items():
        assert file == str(bad.path)
        assert account.read == account.used + account.num_skipped
    assert on_bad_row == "look" or found.ledger.num_read - found.ledger.num_skipped > 0
    return "skipped" if found.ledger.bad else "read"


def lines_of(bad):
    """Rows that a file of JSON lines must have: its lines that are not blank."""
    text = bad.path.read_bytes().decode("utf8")
    return sum(bool(line.strip(" \t\r\n")) for line in text.split("\n"))


def judged(bad, folder, *, twice):
    """How a file ends with `on_bad_row: error` and with `skip`; or only looked at."""
    looked = what_becomes_of(bad, folder, "look")
    if bad.unfit:
        return "looked at", looked
    strict = what_becomes_of(bad, folder, "error")
    assert len(list(folder.glob("cache/data/*/*"))) == (strict == "read")
    lenient = what_becomes_of(bad, folder, "skip")
    assert strict == (lenient if lenient == "read" else "refused")
    assert lenient in (looked, "refused")
    assert not twice or lenient == what_becomes_of(bad, folder, "skip")
    return strict, lenient


def campaign(directory, monkeypatch, seeds):
    """Each file alone, with a cache of its own; how many came to which end."""
    (aside := directory / "aside").mkdir()
    ends = Counter()
    for seed in seeds:
        (folder := directory / str(seed)).mkdir()
        monkeypatch.setenv("TUNESMITH_CACHE", str(folder / "cache"))
        bad = made(seed, folder, aside)
        before = {path: path.read_bytes() for path in folder.iterdir()}
        try:
            ends[judged(bad, folder, twice=seed % 10 == 0)] += 1
        except BaseException as error:
            error.add_note(f"seed {seed}: {bad.said}")
            raise
        after = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        assert after == before, f"seed {seed}: {bad.said}"
        _remove(folder)
    return ends


def _remove(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def test_damaged_files_come_to_one_of_three_ends(tmp_path, monkeypatch):
    ends = campaign(tmp_path, monkeypatch, range(432))
    for way in ("read", "read"), ("refused", "skipped"), ("refused", "refused"):
        assert ends[way] > 10, ends
    for way in "read", "skipped", "refused":
        assert ends["looked at", way] > 10, ends


@pytest.mark.slow
def test_five_thousand_damaged_files_come_to_one_of_three_ends(tmp_path, monkeypatch):
    print(dict(campaign(tmp_path, monkeypatch, range(1000, 6000))))


@pytest.mark.parametrize("seed", range(49, 241, 24))
def test_every_line_of_a_damaged_file_is_in_the_ledger(tmp_path, monkeypatch, seed):
    """Lines are counted here by another rule than the reader's."""
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    (aside := tmp_path / "aside").mkdir()
    for number in range(20):
        (folder := tmp_path / str(number)).mkdir()
        bad = made(seed + 432 * number, folder, aside)
        assert bad.path.name == "a.jsonl"
        entry = json.dumps({"d": {"file_name": "a.jsonl", "formatting": "openai"}})
        (folder / "dataset_info.json").write_text(entry)
        try:
            expected = lines_of(bad)
            first = bad.path.read_bytes().lstrip()[:1]
        except UnicodeDecodeError:
            continue
        if first == b"[" or b"\0" in bad.path.read_bytes() or not expected:
            continue
        with (folder / "a.jsonl").open("a") as file:
            row = {"messages": [{"role": r, "content": "a"} for r in ("user", "assistant")]}
            file.write("\n" + json.dumps(row))
        prepared = prepare(
            dataset=["d"], dataset_dir=folder, renderer=QWEN, tokenizer=TOKENIZER,
            cutoff_len=4096, on_bad_row="skip",
        )  # fmt: skip
        (account,) = prepared.ledger.files.values()
        assert account.read == expected + 1, bad.said

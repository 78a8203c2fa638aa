"""Prepared once for the same input, again when anything that matters changes, never by halves."""

import datetime
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tiny_tokenizer import load_tiny
from tunesmith import store
from tunesmith.data import cache
from tunesmith.data.prepare import prepare
from tunesmith.errors import DataError
from tunesmith.templates import Asked, choose

TOKENIZER = load_tiny()


@pytest.fixture(autouse=True)
def made(tmp_path, monkeypatch):
    """A cache of its own; counts how often examples are made."""
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    count = Counter()
    real = cache.Writer

    def counted(directory):
        count["made"] += 1
        return real(directory)

    monkeypatch.setattr(cache, "Writer", counted)
    return count


def write(directory, rows, **entry):
    (directory / "a.json").write_text(json.dumps(rows))
    info = {"a": {"file_name": "a.json", **entry}}
    (directory / "dataset_info.json").write_text(json.dumps(info))
    os.utime(directory / "a.json", (0, 0))  # it was written long ago


def alpaca(count):
    return [{"instruction": f"ask {i}", "output": f"say {i}"} for i in range(count)]


def run(directory, **options):
    usual = {"cutoff_len": 256, "renderer": choose("chatml", TOKENIZER), "tokenizer": TOKENIZER}
    return prepare(dataset=["a"], dataset_dir=directory, **{**usual, **options})


def told(prepared):
    sides = [
        [(e.ids.tolist(), e.trained.tolist(), e.origin) for e in side] for side in prepared[:2]
    ]
    return (*sides, prepared.ledger.as_dict(), *prepared[3:])


def test_the_second_time_they_are_there_and_the_same(tmp_path, made):
    write(tmp_path, [*alpaca(30), alpaca(1)[0], {"instruction": "q", "output": ""}])
    runs = [run(tmp_path, val_size=4, on_bad_row="skip") for _ in range(3)]
    assert made["made"] == 1
    assert told(runs[0]) == told(runs[1]) == told(runs[2])
    assert "skipped" in runs[1].ledger.lines()[0]


@pytest.mark.parametrize(
    "flip",
    [
        {"cutoff_len": 255},
        {"max_samples": 5},
        {"train_on_prompt": True},
        {"mask_history": True},
        {"split_special_tokens": False},
        {"truncation": "drop"},
        {"renderer": choose("vicuna", TOKENIZER)},
        {"renderer": choose("chatml", TOKENIZER, Asked(default_system="Be brief."))},
        {"tokenizer": load_tiny(bos="<|endoftext|>")},
        {"overwrite_cache": True},
    ],
    ids=lambda flip: next(iter(flip)),
)
def test_what_matters_makes_them_again(tmp_path, made, flip):
    write(tmp_path, alpaca(9))
    run(tmp_path)
    run(tmp_path, **flip)
    assert made["made"] == 2


@pytest.mark.parametrize(
    "flip",
    [
        {"val_size": 0.5},
        {"seed": 7, "val_size": 3},
        {"on_bad_row": "skip"},
        {"mix_strategy": "interleave_over", "interleave_probs": (1.0,)},
    ],
    ids=str,
)
def test_what_does_not_matter_does_not(tmp_path, made, flip):
    write(tmp_path, alpaca(9))
    run(tmp_path)
    run(tmp_path, **flip)
    info = tmp_path / "dataset_info.json"
    info.write_text("\n\n" + info.read_text())
    os.utime(tmp_path / "a.json", (9, 9))
    run(tmp_path)
    assert made["made"] == 1


@pytest.mark.parametrize(
    ("name", "again"), [("chatml", False), ("llama3", True), ("own", False), ("dated", True)]
)
def test_another_day_makes_them_again_only_where_the_text_shows_it(tmp_path, made, name, again):
    jinja = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    dated = "{{ strftime_now('%d') }}\n" + jinja
    tokenizer = load_tiny({"own": jinja, "dated": dated}.get(name))
    template = None if name in ("own", "dated") else name
    write(tmp_path, alpaca(3))
    for day in (1, 2):
        renderer = choose(template, tokenizer, today=datetime.date(2026, 1, day))
        run(tmp_path, renderer=renderer, tokenizer=tokenizer)
    assert made["made"] == 1 + again


def test_other_bytes_or_another_layout_make_them_again(tmp_path, made):
    write(tmp_path, alpaca(9))
    before = run(tmp_path)
    write(tmp_path, [*alpaca(8), {"instruction": "ask 8", "output": "say 9"}])  # the same size
    after = run(tmp_path)
    assert made["made"] == 2
    assert before.source != after.source
    write(tmp_path, alpaca(9), columns={"prompt": "output", "response": "instruction"})
    run(tmp_path)
    assert made["made"] == 3
    assert run(tmp_path).train[0].ids.tolist() != before.train[0].ids.tolist()


def test_code_that_changes_makes_them_again(tmp_path, made, monkeypatch):
    write(tmp_path, alpaca(9))
    run(tmp_path)
    monkeypatch.setattr(cache, "_code", lambda: "other")
    run(tmp_path)
    assert made["made"] == 2


def test_bad_rows_leave_nothing_and_stop_the_run_whoever_kept_them(tmp_path, made):
    write(tmp_path, [*alpaca(3), {"instruction": "q", "output": ""}])
    with pytest.raises(DataError, match="an answer to learn"):
        run(tmp_path)
    assert list((tmp_path / "cache" / "data").glob("*/*")) == []
    assert len(run(tmp_path, on_bad_row="skip").train) == 3
    with pytest.raises(DataError, match="an answer to learn"):
        run(tmp_path)
    assert made["made"] == 2
    (kept,) = (tmp_path / "cache" / "data").glob("*/tokens")
    (line,) = (kept / "skipped.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "empty answer"


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    write(tmp_path, alpaca(3))
    real = cache.kept

    def meanwhile(name, fill, **options):
        write(tmp_path, alpaca(4))
        return real(name, fill, **options)

    monkeypatch.setattr(cache, "kept", meanwhile)
    with pytest.raises(DataError, match="other bytes"):
        run(tmp_path)


def test_damage_is_noticed_and_made_good(tmp_path, made):
    write(tmp_path, alpaca(9))
    before = told(run(tmp_path))
    (kept,) = (tmp_path / "cache" / "data").glob("*/tokens")
    ids = kept / "ids.bin"
    ids.write_bytes(ids.read_bytes()[:-4])
    assert told(run(tmp_path)) == before
    assert made["made"] == 2


def test_a_file_is_hashed_again_only_when_it_looks_different(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(b"one")
    os.utime(file, (0, 0))
    first = cache.digest(file)
    opened = []
    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda *how, **more: (opened.append(how[0]), real(*how, **more))[1]
    )
    assert cache.digest(file) == first
    assert file not in opened
    file.write_bytes(b"two")
    assert cache.digest(file) != first
    assert file in opened


def test_what_no_run_has_asked_for_in_a_month_is_forgotten(tmp_path):
    write(tmp_path, alpaca(3))
    run(tmp_path)
    run(tmp_path, cutoff_len=200)
    data = tmp_path / "cache" / "data"
    for directory in data.glob("*/tokens"):
        os.utime(directory, (0, 0))
    read = run(tmp_path)  # has been of use
    run(tmp_path, cutoff_len=300)
    assert len(list(data.glob("*/tokens"))) == 2
    for directory in data.glob("*/tokens"):
        os.utime(directory, (0, 0))
    run(tmp_path, cutoff_len=400)
    assert len(list(data.glob("*/tokens"))) == 1
    assert len(read.train[2].ids)  # whoever reads it reads on


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_cache import TOKENIZER, run
prepared = run(Path({directory!r}))
print(prepared.fingerprint, len(prepared.train), flush=True)
"""


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(DataError, match="a pipe"):
        cache.digest(tmp_path / "a.json")


def test_processes_that_start_at_once_and_die_at_random_end_with_one_store(tmp_path):
    """Eight start; half of them die, one after the other, as soon as somebody writes."""
    write(tmp_path, alpaca(4000))
    here = Path(__file__).parent
    code = CHILD.format(tests=str(here), directory=str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": f"{here.parent}:{os.environ.get('PYTHONPATH', '')}"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(8)
    ]
    chance = random.Random(8)
    victims = chance.sample(started, 4)
    deadline = time.monotonic() + 120
    data = tmp_path / "cache" / "data"
    for victim in victims:
        while time.monotonic() < deadline and not any(data.glob("*/*tokens*")):
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.1))
        victim.send_signal(signal.SIGKILL)
    said = {child.communicate(timeout=240)[0] for child in started if child not in victims}
    for victim in victims:
        victim.communicate(timeout=60)
    assert said == {f"{run(tmp_path).fingerprint} 4000\n"}
    (place,) = data.iterdir()
    store.clean(place)
    assert [p.name for p in place.iterdir() if p.is_dir()] == ["tokens"]

"""Datasets of both hubs, brought by their own libraries from a hub on loopback.

Each hub is asked in a process of its own: its libraries read the environment once.
"""

import json
import os
import subprocess
import sys

import pytest

from fake_datasets import FakeDatasets

CARD = b"""---
configs:
- config_name: small
  data_files:
  - {split: train, path: small/train*.jsonl}
  - {split: test, path: small/test.jsonl}
- {config_name: big, data_files: big/*.jsonl}
---
"""
FILES = {
    "own/parts": {
        "README.md": CARD, "small/train-1.jsonl": b'{"a": 1}', "small/train-2.jsonl": b'{"b": 2}',
        "small/test.jsonl": b'{"c": 3}', "big/x.jsonl": b'{"d": 4}',
    },
    "own/plain": {"data/train.jsonl": b'{"e": 5}', "data/test.jsonl": b'{"f": 6}'},
    "own/one": {"rows.json": b'[{"g": 7}]', "README.md": b"# one"},
}  # fmt: skip
CASES = [  # dataset, subset, split, folder -> what the files hold, or what is told
    ("own/parts", "small", "train", None, ['{"a": 1}', '{"b": 2}']),
    ("own/parts", "small", "test", None, ['{"c": 3}']),
    ("own/parts", "big", "train", None, ['{"d": 4}']),
    ("own/parts", None, "train", "big", ['{"d": 4}']),
    ("own/plain", None, "test", None, ['{"f": 6}']),
    ("own/one", None, "train", None, ['[{"g": 7}]']),
    ("own/parts", None, "train", None, "'small', 'big'"),
    ("own/parts", "none", "train", None, "'small', 'big'"),
    ("own/parts", "small", "valid", None, "one of train, test"),
    ("own/none", None, "train", None, "own/none"),
]
ASK = """
import json, sys
from tunesmith.data.entry import Columns, Entry, Tags
from tunesmith.data.fetch import Access, fetch
from tunesmith.errors import DataError
from pathlib import Path
found = []
for value, subset, split, folder in json.loads(sys.argv[2]):
    entry = Entry("d", (), "alpaca", Columns(), Tags(), "here", source=sys.argv[1], value=value,
        subset=subset, split=split, folder=folder)
    access = Access(hf_token=sys.argv[3] or None, ms_token=sys.argv[3] or None,
        cache_dir=Path(sys.argv[4]) if sys.argv[4] else None)
    try:
        found.append([path.read_text() for path in fetch(entry, access).paths])
    except DataError as error:
        found.append(str(error))
print(json.dumps(found))
"""
HUBS = [("hf_hub_url", "datasets"), ("ms_hub_url", "modelscope")]


def ask(hub, tmp_path, source, cases, *, token="", cache="", **environment):
    """What each case gives in a fresh process."""
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"), "")
    environment = {
        **os.environ, **proxies, "NO_PROXY": "*", "no_proxy": "*", "HF_ENDPOINT": hub.url,
        "MODELSCOPE_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0",
        "MODELSCOPE_CACHE": str(tmp_path / "ms"), "HF_TOKEN": "", **environment,
    }  # fmt: skip
    command = [sys.executable, "-c", ASK, source, json.dumps(cases), token, str(cache)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("source", "library"), HUBS)
def test_the_files_of_a_split_come_as_they_are_and_what_is_not_there_is_told(
    tmp_path, source, library
):
    pytest.importorskip(library)
    with FakeDatasets(FILES) as hub:
        found = ask(hub, tmp_path, source, [case[:4] for case in CASES])
    for case, one in zip(CASES, found, strict=True):
        if isinstance(case[4], str):
            assert case[4] in one, case
            assert one.startswith("here\n  got ")
        else:
            assert one == case[4], case


@pytest.mark.parametrize(("source", "library"), HUBS)
def test_a_token_is_sent_and_a_cache_dir_is_used(tmp_path, source, library):
    pytest.importorskip(library)
    cache = tmp_path / "mine"
    case = CASES[5][:4]
    with FakeDatasets(FILES) as hub:
        hub.token = "s3cret"
        (refused,) = ask(hub, tmp_path, source, [case])
        (given,) = ask(hub, tmp_path, source, [case], token="s3cret", cache=cache)
    assert "own/one" in refused
    assert given == CASES[5][4]
    assert [path.name for path in cache.rglob("rows.json")] == ["rows.json"]


def test_offline_a_dataset_in_the_cache_is_used_and_another_says_so(tmp_path):
    pytest.importorskip("datasets")
    with FakeDatasets(FILES) as hub:
        ask(hub, tmp_path, "hf_hub_url", [CASES[5][:4]])
        hub.requests.clear()
        cases = [CASES[5][:4], CASES[4][:4]]
        found = ask(hub, tmp_path, "hf_hub_url", cases, HF_HUB_OFFLINE="1")
        assert hub.requests == []
    assert "HF_HUB_OFFLINE is set" in found[1]

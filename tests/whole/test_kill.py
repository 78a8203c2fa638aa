"""Killed at any moment, the same command goes on to the very same bytes.

One process imports everything and forks a child for each attempt, so that an attempt costs what
training costs, not what imports cost. Half of the kills come at a random time, half inside a
random call to the disk: in the middle of a save, a rotation, a log line.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tiny_run import tiny_run, train

KEYS = {"num_train_epochs": 3, "save_steps": 2, "save_total_limit": 2, "lora_dropout": 0.1}
RESULT = ("adapter_model.safetensors", "adapter_config.json", "tokenizer.json")


def test_five_kills_leave_no_trace(tmp_path):
    found = harness(tmp_path, kills=5, seed=0)
    assert found["kills"] >= 5
    assert found["inside_disk"] >= 3
    assert found["equal"] == found["runs"]
    assert found["leftovers"] == []


@pytest.mark.slow
def test_five_hundred_kills_leave_no_trace(tmp_path):
    found = harness(tmp_path, kills=500, seed=1)
    assert found["kills"] >= 500
    assert found["equal"] == found["runs"]
    assert found["leftovers"] == []
    print(found)


def harness(tmp_path, *, kills, seed):
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TUNESMITH_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path), str(kills), str(seed)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def campaign(directory, kills, seed):
    """Kill until `kills` have been survived; what came of it."""
    draw = random.Random(seed)
    path = tiny_run(directory, **KEYS)
    straight = directory / "straight"
    began = time.monotonic()
    assert attempt(path, straight) == 0
    seconds = time.monotonic() - began
    calls = int((directory / "calls").read_text())
    expected = digests(straight)
    counts = {"runs": 0, "kills": 0, "inside_disk": 0, "equal": 0, "leftovers": []}
    while counts["kills"] < kills or counts["inside_disk"] < 0.4 * kills:
        out = directory / f"run-{counts['runs']}"
        while True:
            inside = draw.random() < 0.5
            at = draw.randrange(1, calls) if inside else None
            after = None if inside else draw.uniform(0.02, seconds)
            code = attempt(path, out, at=at, after=after)
            if code == 0:
                break
            assert code == -signal.SIGKILL, code
            counts["kills"] += 1
            counts["inside_disk"] += inside
        counts["runs"] += 1
        counts["equal"] += digests(out) == expected
        counts["leftovers"] += [p.name for p in out.rglob("*") if ".tmp-" in p.name]
    return counts


def attempt(path, out, *, at=None, after=None):
    """Train in a child that is killed after `after` seconds or in its `at`-th call to the disk."""
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 1
        try:
            code = child(path, out, at)
        finally:
            os._exit(code)
    if after is not None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def child(path, out, at):
    from tunesmith import store

    class Counting(type(store.disk.current)):
        calls = 0

        def __getattribute__(self, name):
            if not name.startswith("_") and name != "calls":
                Counting.calls += 1
                if Counting.calls == at:
                    os.kill(os.getpid(), signal.SIGKILL)
            return super().__getattribute__(name)

    store.disk.current = Counting()
    train(path, output_dir=str(out))
    (path.parent / "calls").write_text(str(Counting.calls))
    return 0


def digests(out):
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in RESULT}


if __name__ == "__main__":
    import torch

    import tunesmith.eval.held_out
    import tunesmith.training.run  # noqa: F401 - imported once, before the first fork

    torch.set_num_threads(1)
    print(json.dumps(campaign(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))

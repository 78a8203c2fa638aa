"""Fresh processes of one two-thread bf16 job give one result, or the probe tells which did not.

Seen once in about 100 such jobs on a loaded machine: one process computed otherwise from its
first forward on. The probe has to catch it; this campaign looks for one that it does not.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_run import tiny_run


def test_two_processes_give_the_same_bytes(tmp_path):
    found = campaign(tmp_path, processes=2, loaded=1, epochs=1)
    assert len({digest for digest, told in found if not told}) == 1


@pytest.mark.slow
def test_two_hundred_processes_give_the_same_bytes(tmp_path):
    found = campaign(tmp_path, processes=200, loaded=100, epochs=4)
    told = sum(told for _, told in found)
    print(f"{len(found)} processes, {len({d for d, _ in found})} results, {told} told by the probe")
    assert len({digest for digest, told in found if not told}) == 1


def campaign(tmp_path, *, processes, loaded, epochs):
    """(hash of the adapter, whether the probe said that it differs) of each process."""
    path = tiny_run(
        tmp_path, bf16=True, num_train_epochs=epochs,
        model={"hidden_size": 256, "intermediate_size": 512},
    )  # fmt: skip
    environment = {
        **os.environ, "OMP_NUM_THREADS": "2", "TUNESMITH_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }  # fmt: skip
    found = []
    for number in range(processes):
        load = [
            subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(2 * (number < loaded))
        ]
        try:
            out = tmp_path / f"out-{number}"
            command = [sys.executable, "-m", "tunesmith", "train", str(path), f"output_dir={out}"]
            done = subprocess.run(
                [*command, "--json"],
                env=environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
        finally:
            for process in load:
                process.kill()
                process.wait()
        assert done.returncode == 0, done.stderr[-2000:]
        notes = json.loads(done.stdout.splitlines()[-1])["notes"]
        digest = hashlib.sha256((out / "adapter_model.safetensors").read_bytes()).hexdigest()
        found.append((digest, any("computes otherwise" in note for note in notes)))
    return found


BUSY = "while True: sum(i * i for i in range(10000))"

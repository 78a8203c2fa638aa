"""Families whose processors need torchvision, in a process that has it.

The wheel on PyPI finds its binary only beside a torch for GPUs. Processors use none of it, but the
package does not even begin without the operators that it describes, so they are named here.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
BESIDE = [Path(sys.prefix) / "beside", ROOT / ".venv" / "beside"]
FILES = ("internvl", "llava_next", "minicpm", "pixtral", "qwen_vl", "smolvlm", "video_llava")
PLUGIN = """
import torch

try:
    import torchvision
except RuntimeError:
    declared = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for name in [name for name in __import__("sys").modules if name.startswith("torchvision")]:
        del __import__("sys").modules[name]
    import torchvision
"""


def test_families_that_move_are_like_stock(tmp_path):
    found = [path for path in BESIDE if (path / "torchvision").is_dir()]
    if not found:
        pytest.skip("no torchvision; `make test` puts one beside")
    (tmp_path / "with_torchvision.py").write_text(PLUGIN)
    paths = [str(ROOT / "src"), str(tmp_path), str(found[0]), os.environ.get("PYTHONPATH", "")]
    files = [str(ROOT / "tests" / "data" / "media" / f"test_{name}.py") for name in FILES]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider",
         "-p", "with_torchvision", *files],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}, text=True,
        capture_output=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert "skipped" not in done.stdout
    assert "17 passed" in done.stdout

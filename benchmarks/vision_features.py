"""Pictures per second of LLaVA's first stage with and without kept features of the frozen tower.

    python benchmarks/vision_features.py [--pictures 32] [--epochs 3] [--batch 8] [--wide 256]
                                         [--patch 16] [--bf16]

A tower of CLIP-B's shape and a small language model, both with random weights; the projector alone
learns, on random pictures of 336 x 224. Three runs of one process: without kept features, with them
when none are there, and when all are. What is timed is what passes between two optimizer steps, so
the reading of pictures counts; what passes before the first step stands beside it, and the loss of
each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from seeing_run import STAGE_1, seeing_run
from tiny_run import train
from tunesmith.training.report import Silent


class Clock(Silent):
    """When each step ended."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.features = ""

    def say(self, text: str) -> None:
        if text.startswith("vision features"):
            self.features = text

    def step(self, done, total, **facts) -> None:
        self.times.append(time.perf_counter())


def model(folder: Path, *, wide: int, patch: int) -> Path:
    """A LLaVA with a tower of CLIP-B's shape, as a plain transformers directory."""
    import tiny_vlm

    tower = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
             "num_attention_heads": 12, "image_size": 224, "patch_size": patch}  # fmt: skip
    tiny_vlm._CLIP |= tower
    tiny_vlm._TEXT |= {"hidden_size": wide, "intermediate_size": 3 * wide}
    directory = tiny_vlm.tiny_vlm(folder, "llava")
    path = directory / "processor_config.json"
    said = json.loads(path.read_text())
    said["patch_size"] = patch
    side = {"height": 224, "width": 224}
    said["image_processor"] |= {"size": {"shortest_edge": 224}, "crop_size": side}
    path.write_text(json.dumps(said))
    return directory


def rows(folder: Path, count: int) -> list[dict]:
    """Questions about pictures of noise."""
    import numpy as np
    from PIL import Image

    found = []
    for number in range(count):
        drawn = np.random.default_rng(number).integers(0, 256, (224, 336, 3), dtype=np.uint8)
        Image.fromarray(drawn).save(folder / f"{number}.jpg", quality=90)
        asked = {"role": "user", "content": "<image>What is it?"}
        said = {"role": "assistant", "content": f"Number {number}, as any."}
        found.append({"messages": [asked, said], "images": [f"{number}.jpg"]})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (
        ("pictures", 32),
        ("epochs", 3),
        ("batch", 8),
        ("wide", 256),
        ("patch", 16),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--bf16", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TUNESMITH_CACHE"] = str(folder / "cache")
        path = seeing_run(
            folder, model=model(folder, wide=asked.wide, patch=asked.patch),
            data=rows(folder, asked.pictures), num_train_epochs=asked.epochs,
            per_device_train_batch_size=asked.batch, bf16=asked.bf16, **STAGE_1,
        )  # fmt: skip
        told, losses = {}, {}
        for kind, keys in (
            ("without", {}), ("made here", {"cache_vision_features": True}),
            ("found", {"cache_vision_features": True}),
        ):  # fmt: skip
            clock, began = Clock(), time.perf_counter()
            result = train(path, clock, output_dir=str(folder / kind), **keys)
            losses[kind] = result.metrics["train_loss"]
            between = [b - a for a, b in zip(clock.times, clock.times[1:], strict=False)]
            told[kind] = asked.batch / statistics.median(between)
            print(
                f"{kind:10} {told[kind]:9.1f} pictures/s between steps, first step after "
                f"{clock.times[0] - began:6.1f} s, all {asked.epochs} epochs in "
                f"{clock.times[-1] - began:6.1f} s, loss {losses[kind]:.7f}  {clock.features}",
                flush=True,
            )
        print(f"ratio of a run that finds them: {told['found'] / told['without']:.1f}")
        print(f"ratio of the run that makes them: {told['made here'] / told['without']:.1f}")


if __name__ == "__main__":
    main()

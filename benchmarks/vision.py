"""Pictures per second and memory of a small LLaVA's first two stages, beside LLaMA-Factory.

    make peers
    python benchmarks/vision.py [--stages 1,2] [--count 64] [--batch 8] [--rounds 3] [--dtype bf16]
        [--sides tunesmith,llamafactory] [--width 384]

SmolLM2-135M-Instruct and a tower of ViT-S/16's shape with random weights (196 patches of a picture
of 224 x 224) make one model; the rows are the captions (stage 1: the projector alone learns) and
the questions (stage 2: the language model learns too) of `examples/vlm/pictures.py`, in the layout
of LLaVA, the same in the same order, the same number a step, LLaMA-Factory's template `llava` on
both sides. Each side is the command that its users type, at its defaults; the first line of stage 1
is also run with `cache_vision_features`, which the peer has not, once to make them and then timed.
Figures as in `speed.py`: from the beginning of the first step to the end of the last, medians, the
ratio of every round. Without torchvision, both sides read pictures by transformers' PIL processor.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import sides

ROOT = Path(__file__).parents[1]
BOTH = {"finetuning_type": "full", "template": "llava", "freeze_vision_tower": True,
        "freeze_multi_modal_projector": False}  # fmt: skip
STAGES = {
    "1": {**BOTH, "freeze_language_model": True, "learning_rate": 1e-3},
    "2": {**BOTH, "freeze_language_model": False, "learning_rate": 2e-5},
}
DATA = {"1": "captions", "2": "questions"}


def model(folder: Path, width: int, source: str) -> Path:
    """A tower with random weights joined to a language model, as a plain transformers directory."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=12,
        num_attention_heads=width // 64, image_size=224, patch_size=16,
    )  # fmt: skip
    CLIPVisionModel(config).save_pretrained(folder / "tower")
    CLIPImageProcessorPil(
        size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}
    ).save_pretrained(folder / "tower")
    asked = {
        "model_name_or_path": source, "vision_tower": str(folder / "tower"),
        "mm_projector_type": "mlp2x_gelu", "template": "chatml",
        "output_dir": str(folder / "model"),
    }  # fmt: skip
    (folder / "assemble.yaml").write_text(json.dumps(asked))
    tunesmith("assemble", folder / "assemble.yaml")
    return folder / "model"


def tunesmith(*words: object) -> None:
    """A command of ours."""
    subprocess.run([sys.executable, "-m", "tunesmith", *map(str, words)], check=True)


def drawn(folder: Path, count: int) -> None:
    """Pictures, captions, questions and the registry."""
    script = ROOT / "examples" / "vlm" / "pictures.py"
    asked = [sys.executable, script, folder, "--train", str(count), "--held-out", "1"]
    subprocess.run(asked, check=True, stdout=subprocess.DEVNULL)


def compare(job: sides.Job, stage: str, asked: argparse.Namespace) -> None:
    """The table of one stage and dtype."""
    runs = {(side, "defaults"): {} for side in asked.sides.split(",")}
    if stage == "1":
        runs["tunesmith", "cache_vision_features"] = {"cache_vision_features": True}
        sides.measure("tunesmith", job, runs["tunesmith", "cache_vision_features"])
    found = {key: [] for key in runs}
    for _ in range(asked.rounds):
        for key, setting in runs.items():
            done = sides.measure(key[0], job, setting)
            if "error" in done:
                raise SystemExit(f"{key}: {done['error']}")
            found[key].append(done)
    print(f"\nstage {stage}, {job.dtype}, {job.count} pictures, {job.batch} a step")
    heads = ("", "pictures/CPU-s", "pictures/s", "tokens", "trained", "peak MiB", "mean loss",
             "ours / theirs, each round", "memory, theirs / ours")  # fmt: skip
    print(f"| {' | '.join(heads)} |\n|---|--:|--:|--:|--:|--:|--:|---|--:|")
    ours = found["tunesmith", "defaults"]
    for (side, text), several in found.items():
        ratios = [b["cpu"] / a["cpu"] for a, b in zip(ours, several, strict=True)]
        memory = sides.median(several, "mib") / sides.median(ours, "mib")
        print(
            f"| {side}, {text} | {job.count / sides.median(several, 'cpu'):.2f} "
            f"| {job.count / sides.median(several, 'clock'):.2f} | {several[0]['real']} "
            f"| {several[0]['trained']} | {sides.median(several, 'mib'):.0f} "
            f"| {sides.median(several, 'loss'):.4f} "
            f"| {', '.join(f'{ratio:.2f}' for ratio in ratios)} | {memory:.2f} |",
            flush=True,
        )


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", default="1,2")
    parser.add_argument("--model", default=sides.MODEL)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--sides", default="tunesmith,llamafactory")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TUNESMITH_CACHE"] = str(folder / "cache")
        directory = model(folder, asked.width, asked.model)
        drawn(folder / "data", asked.count)
        for dtype in asked.dtype.split(","):
            for stage in asked.stages.split(","):
                job = sides.Job(
                    directory, folder / "data" / f"{DATA[stage]}.json", Path(), asked.count,
                    dtype=dtype, method="full", batch=asked.batch, cutoff=1024,
                    threads=asked.threads, dataset=DATA[stage], keys=STAGES[stage],
                )  # fmt: skip
                compare(job, stage, asked)


if __name__ == "__main__":
    main()

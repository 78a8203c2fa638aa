"""Train a small vision tower on the drawn pictures; plain transformers, a minute or two of CPU.

    python examples/vlm/tower.py DIR OUT [--epochs 8] [--seed 0]

DIR is what `pictures.py` wrote. The tower is a SigLIP-shaped vision transformer of 0.6 million
weights that begins at random and learns to tell colour, shape and the cells of the training
pictures; they are shown moved by a few pixels, so that a shape is learned apart from its place, and
half of them in grey, so that it is learned apart from its colour. It knows these drawings and
nothing else: it stands in for a real encoder where none can be downloaded. OUT gets the tower and
its image processor, opened by `SiglipVisionModel.from_pretrained`; the heads it was trained with
are thrown away. The last line printed is the share of held-out pictures whose colour, shape and
whole set of cells are right.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from pictures import CELLS, COLOURS, SHAPES, SIDE
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import SiglipVisionConfig, SiglipVisionModel
from transformers.models.siglip import SiglipImageProcessor

_PATCH, _WIDTH, _LAYERS = 16, 128, 4
_BATCH, _RATE, _GREY, _MOVED = 64, 1e-3, 0.5, 3


def read(place: Path, part: str, processor: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Pixels (N, 3, S, S) f32 and what they show: classes (N,), cells (N, 9) f32."""
    shown = json.loads((place / "attributes.json").read_text(encoding="utf8"))
    chosen = {path: one for path, one in shown.items() if path.startswith(f"{part}/")}
    images = [Image.open(place / path).convert("RGB") for path in chosen]
    pixels = processor(images=images, return_tensors="pt")["pixel_values"]
    rows = list(chosen.values())
    return pixels, {
        "colour": torch.tensor([[*COLOURS].index(row["colour"]) for row in rows]),
        "shape": torch.tensor([SHAPES.index(row["shape"]) for row in rows]),
        "cells": torch.tensor([[float(cell in row["cells"]) for cell in CELLS] for row in rows]),
    }


def heads(width: int) -> nn.ModuleDict:
    """One linear reading of the mean patch for each attribute."""
    sizes = {"colour": len(COLOURS), "shape": len(SHAPES), "cells": len(CELLS)}
    return nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})


def read_off(tower: Any, head: nn.ModuleDict, pixels: Tensor) -> dict[str, Tensor]:
    """Scores of each attribute, (B, classes) f32."""
    mean = tower(pixel_values=pixels).last_hidden_state.mean(1)
    return {name: one(mean) for name, one in head.items()}


def greyed(pixels: Tensor, grey: Tensor) -> Tensor:
    """Some pictures without colour: a shape is the same in every colour."""
    without = pixels.mean(1, keepdim=True).expand_as(pixels)
    return torch.where(grey[:, None, None, None], without, pixels)


def moved(pixels: Tensor) -> Tensor:
    """Each picture moved by at most `_MOVED` pixels either way; no shape leaves its cell."""
    wide = functional.pad(pixels, (_MOVED,) * 4, mode="replicate")
    corners = torch.randint(0, 2 * _MOVED + 1, (len(pixels), 2)).tolist()
    cut = [one[:, y : y + SIDE, x : x + SIDE] for one, (x, y) in zip(wide, corners, strict=True)]
    return torch.stack(cut)


def loss_of(scores: dict[str, Tensor], shown: dict[str, Tensor], grey: Tensor) -> Tensor:
    """Sum of the three losses, in nats; of a picture in grey no colour is asked."""
    cells = functional.binary_cross_entropy_with_logits(scores["cells"], shown["cells"])
    shape = functional.cross_entropy(scores["shape"], shown["shape"])
    colour = functional.cross_entropy(scores["colour"][~grey], shown["colour"][~grey])
    return 4 * cells + shape + colour


def shares(
    tower: Any, head: nn.ModuleDict, pixels: Tensor, shown: dict[str, Tensor]
) -> dict[str, float]:
    """Share of pictures told right, by attribute."""
    with torch.inference_mode():
        scores = read_off(tower, head, pixels)
    right = {name: scores[name].argmax(-1) == shown[name] for name in ("colour", "shape")}
    right["cells"] = ((scores["cells"] > 0) == shown["cells"].bool()).all(-1)
    return {name: round(one.float().mean().item(), 4) for name, one in right.items()}


def train(place: Path, out: Path, *, epochs: int, seed: int) -> dict[str, float]:
    """Train on the training pictures, save, and tell how the held-out ones come out."""
    torch.manual_seed(seed)
    size = {"height": SIDE, "width": SIDE}
    processor = SiglipImageProcessor(size=size)
    config = SiglipVisionConfig(
        image_size=SIDE,
        patch_size=_PATCH,
        hidden_size=_WIDTH,
        intermediate_size=2 * _WIDTH,
        num_hidden_layers=_LAYERS,
        num_attention_heads=_WIDTH // 32,
        vision_use_head=False,
    )
    tower, head = SiglipVisionModel(config), heads(_WIDTH)
    pixels, shown = read(place, "train", processor)
    weights = [*tower.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=_RATE, weight_decay=0.01)
    steps = epochs * -(-len(pixels) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(pixels)).split(_BATCH):
            grey = torch.rand(len(rows)) < _GREY
            scores = read_off(tower, head, greyed(moved(pixels[rows]), grey))
            loss = loss_of(scores, {name: one[rows] for name, one in shown.items()}, grey)
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            total += loss.item() * len(rows)
        print(f"epoch {epoch + 1}/{epochs}  loss {total / len(pixels):.4f}", flush=True)
    tower.eval().save_pretrained(out)
    processor.save_pretrained(out)
    return shares(tower, head, *read(place, "held_out", processor))


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="train a small tower on drawn pictures")
    parser.add_argument("directory", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    found = train(asked.directory, asked.out, epochs=asked.epochs, seed=asked.seed)
    print("held out:", json.dumps(found))


if __name__ == "__main__":
    main()

"""Drawn pictures of coloured shapes, for trying out a vision-language model without any download.

    python examples/vlm/pictures.py DIR [--train 2000] [--held-out 300] [--seed 0]

A picture holds one to three equal shapes, each in a cell of a grid of three by three. One
combination of colour, shape and cell in five is held out: no training picture, caption or
question shows it, though it shows every pair of colour, shape and cell. DIR gets

- `train/` and `held_out/`: PNG files,
- `captions.json`: LLaVA rows of the training pictures, for aligning the projector,
- `questions.json`: LLaVA rows of the training pictures, four questions each,
- `held_out.json`: the same questions about the held-out pictures, a row each,
- `blank.json`: these questions and answers again, beside an empty picture: what can be guessed,
- `dataset_info.json`: the registry of these four,
- `attributes.json`: what each picture shows.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

COLOURS = {
    "red": (214, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 214),
    "yellow": (235, 200, 30),
    "purple": (140, 50, 170),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle", "star", "cross")
CELLS = (
    "top left", "top middle", "top right",
    "middle left", "centre", "middle right",
    "bottom left", "bottom middle", "bottom right",
)  # fmt: skip
SIDE = 64
_BLANK = "blank.png"
_NUMBERS = ("zero", "one", "two", "three")


class Picture(NamedTuple):
    """What one picture shows."""

    colour: str
    shape: str
    cells: tuple[str, ...]

    @property
    def combinations(self) -> set[tuple[str, str, str]]:
        """Colour, shape and cell of everything in it."""
        return {(self.colour, self.shape, cell) for cell in self.cells}

    @property
    def caption(self) -> str:
        """One sentence that says it all."""
        many = len(self.cells) > 1
        number = _NUMBERS[len(self.cells)].capitalize() if many else "A"
        plural = ("es" if self.shape == "cross" else "s") if many else ""
        return f"{number} {self.colour} {self.shape}{plural}: {', '.join(self.cells)}."

    @property
    def questions(self) -> list[tuple[str, str]]:
        """Each with its answer."""
        return [
            ("What colour is it?", self.colour),
            ("What shape is it?", self.shape),
            ("How many shapes are there?", _NUMBERS[len(self.cells)]),
            ("Where is it? Name every place.", ", ".join(self.cells)),
        ]


def held_out(colour: str, shape: str, cell: str) -> bool:
    """Whether a combination is kept for the test: one in five, spread over all pairs."""
    number = [*COLOURS].index(colour) + 2 * SHAPES.index(shape) + CELLS.index(cell)
    return number % 5 == 0


def pictures(count: int, *, seed: int, test: bool) -> list[Picture]:
    """So many, drawn from the training combinations only, or from the held-out ones only."""
    draw = random.Random(f"{seed} {test}")
    found = []
    for _ in range(count):
        colour, shape = draw.choice([*COLOURS]), draw.choice(SHAPES)
        free = [cell for cell in CELLS if held_out(colour, shape, cell) == test]
        number = draw.randint(1, min(3, len(free)))
        found.append(Picture(colour, shape, tuple(sorted(draw.sample(free, number)))))
    return found


def drawn(picture: Picture, draw: random.Random) -> Image.Image:
    """Its pixels; size and place within a cell, and the light, vary a little."""
    light = draw.randint(225, 255)
    image = Image.new("RGB", (SIDE, SIDE), (light, light, light))
    for cell in picture.cells:
        row, column = divmod(CELLS.index(cell), 3)
        middle = [SIDE * (2 * at + 1) / 6 + draw.uniform(-1.5, 1.5) for at in (column, row)]
        _shape(ImageDraw.Draw(image), picture, middle, draw.uniform(6.5, 9.0))
    return image


def _shape(pen: ImageDraw.ImageDraw, picture: Picture, middle: list[float], size: float) -> None:
    x, y = middle
    fill = COLOURS[picture.colour]
    match picture.shape:
        case "circle":
            pen.ellipse((x - size, y - size, x + size, y + size), fill=fill)
        case "square":
            half = 0.85 * size
            pen.rectangle((x - half, y - half, x + half, y + half), fill=fill)
        case "cross":
            thin = size / 3
            pen.rectangle((x - size, y - thin, x + size, y + thin), fill=fill)
            pen.rectangle((x - thin, y - size, x + thin, y + size), fill=fill)
        case corners:
            points = 10 if corners == "star" else 3
            radii = [size if at % 2 == 0 or points == 3 else 0.45 * size for at in range(points)]
            turns = [2 * math.pi * at / points - math.pi / 2 for at in range(points)]
            pairs = zip(radii, turns, strict=True)
            pen.polygon([(x + r * math.cos(t), y + r * math.sin(t)) for r, t in pairs], fill=fill)


def write(place: Path, *, train: int, test: int, seed: int) -> None:
    """Fill a directory; the same numbers give the same bytes."""
    shown = {}
    for name, count in (("train", train), ("held_out", test)):
        (place / name).mkdir(parents=True, exist_ok=True)
        draw = random.Random(f"{seed} {name} pixels")
        for number, picture in enumerate(pictures(count, seed=seed, test=name == "held_out")):
            path = f"{name}/{number:05}.png"
            drawn(picture, draw).save(place / path)
            shown[path] = picture
    Image.new("RGB", (SIDE, SIDE), (240, 240, 240)).save(place / _BLANK)
    learned = {path: one for path, one in shown.items() if path.startswith("train/")}
    kept = {path: one for path, one in shown.items() if path not in learned}
    files: dict[str, Any] = {
        "captions": [_row(path, [("Describe it.", one.caption)]) for path, one in learned.items()],
        "questions": [_row(path, _mixed(one.questions, path)) for path, one in learned.items()],
        "held_out": _asked_apart({path: (path, one) for path, one in kept.items()}),
        "blank": _asked_apart({path: (_BLANK, one) for path, one in kept.items()}),
        "dataset_info": {
            name: {
                "file_name": f"{name}.json",
                "formatting": "sharegpt",
                "columns": {"messages": "conversations", "images": "image"},
            }
            for name in ("captions", "questions", "held_out", "blank")
        },
        "attributes": {path: one._asdict() for path, one in shown.items()},
    }
    for name, rows in files.items():
        (place / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf8")


def _mixed(questions: list[tuple[str, str]], path: str) -> list[tuple[str, str]]:
    """In an order of the picture's own: an answer is not to be read off the ones before it."""
    return random.Random(path).sample(questions, len(questions))


def _asked_apart(shown: dict[str, tuple[str, Picture]]) -> list[dict[str, Any]]:
    """A row for each question about a picture, which may be another one in its place."""
    return [
        {**_row(place, [question]), "id": f"{path.removesuffix('.png')}-{number}"}
        for path, (place, one) in shown.items()
        for number, question in enumerate(one.questions)
    ]


def _row(path: str, asked: list[tuple[str, str]]) -> dict[str, Any]:
    """A row in LLaVA's layout; the picture stands before the first question."""
    turns = []
    for number, (question, answer) in enumerate(asked):
        lead = "" if number else "<image>\n"
        turns += [
            {"from": "human", "value": lead + question},
            {"from": "gpt", "value": answer},
        ]
    return {"id": path.removesuffix(".png"), "image": path, "conversations": turns}


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(description="draw pictures of coloured shapes")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--held-out", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    write(asked.directory, train=asked.train, test=asked.held_out, seed=asked.seed)


if __name__ == "__main__":
    main()

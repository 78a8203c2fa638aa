"""The drawn pictures of `examples/vlm`: what is held out is not shown, and what is said is so."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "vlm" / "pictures.py"
COUNTS = ("--train", "60", "--held-out", "20")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set of pictures."""
    return _write(tmp_path_factory.mktemp("pictures"))


def _write(place: Path, *more: str) -> Path:
    subprocess.run([sys.executable, str(SCRIPT), str(place), *COUNTS, *more], check=True)
    return place


def _read(place: Path, name: str) -> Any:
    return json.loads((place / f"{name}.json").read_text(encoding="utf8"))


def test_no_combination_is_in_both_parts(place: Path) -> None:
    seen: dict[str, set[tuple[str, str, str]]] = {"train": set(), "held_out": set()}
    for path, shown in _read(place, "attributes").items():
        triples = product([shown["colour"]], [shown["shape"]], shown["cells"])
        seen[path.split("/")[0]] |= set(triples)
    assert seen["train"]
    assert seen["held_out"]
    assert not seen["train"] & seen["held_out"]


def test_every_row_names_a_picture_and_says_what_it_shows(place: Path) -> None:
    shown = _read(place, "attributes")
    for name, part in (("captions", "train"), ("questions", "train"), ("held_out", "held_out")):
        rows = _read(place, name)
        assert {row["image"] for row in rows} == {p for p in shown if p.startswith(f"{part}/")}
        for row in rows:
            said = " ".join(turn["value"] for turn in row["conversations"])
            one = shown[row["image"]]
            assert said.count("<image>") == 1
            assert row["conversations"][0]["value"].startswith("<image>\n")
            told = (one["colour"], one["shape"], *one["cells"])
            assert name == "held_out" or all(word in said for word in told)
        whole = {row["image"]: "" for row in rows}
        for row in rows:
            whole[row["image"]] += " ".join(turn["value"] for turn in row["conversations"])
        for image, said in whole.items():
            one = shown[image]
            assert all(word in said for word in (one["colour"], one["shape"], *one["cells"]))


def test_an_empty_picture_is_asked_the_same(place: Path) -> None:
    held, blank = _read(place, "held_out"), _read(place, "blank")
    assert [row["conversations"] for row in held] == [row["conversations"] for row in blank]
    assert {row["image"] for row in blank} == {"blank.png"}
    assert len(Image.open(place / "blank.png").convert("RGB").getcolors()) == 1
    assert [len(row["conversations"]) for row in held] == [2] * 4 * 20


def test_the_registry_names_what_there_is(place: Path) -> None:
    for name, entry in _read(place, "dataset_info").items():
        assert (place / entry["file_name"]).is_file(), name


def test_colour_is_where_the_attributes_say(place: Path) -> None:
    """The darkest channel differs from the grey ground in the middle of named cells only."""
    from_row = ("top", "middle", "bottom")
    cells = [f"{row} {column}" for row in from_row for column in ("left", "middle", "right")]
    cells[4] = "centre"
    for path, one in _read(place, "attributes").items():
        image = Image.open(place / path).convert("RGB")
        ground = image.getpixel((0, 0))
        middles = {
            name: image.getpixel((64 * (2 * (at % 3) + 1) // 6, 64 * (2 * (at // 3) + 1) // 6))
            for at, name in enumerate(cells)
        }
        assert {name for name, pixel in middles.items() if pixel != ground} == set(one["cells"])


def test_a_seed_gives_the_same_bytes_and_another_seed_others(place: Path, tmp_path: Path) -> None:
    same, other = _write(tmp_path / "same"), _write(tmp_path / "other", "--seed", "1")
    names = sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())
    bytes_of = {where: [(where / n).read_bytes() for n in names] for where in (place, same, other)}
    assert bytes_of[place] == bytes_of[same]
    assert bytes_of[place] != bytes_of[other]

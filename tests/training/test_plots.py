"""A curve is drawn for what was logged, and for nothing else."""

import io

import pytest
from matplotlib.image import imread

from tunesmith.training.plots import draw, smoothed

RECORDS = [{"current_steps": n, "loss": 2.0 / n} for n in range(1, 60)]


def test_only_what_was_logged_is_drawn():
    assert set(draw(RECORDS)) == {"training_loss.png"}
    more = [*RECORDS, {"current_steps": 59, "eval_loss": 1.0, "eval_accuracy": 0.5}]
    assert set(draw(more)) == {
        "training_loss.png",
        "training_eval_loss.png",
        "training_eval_accuracy.png",
    }


def test_the_picture_holds_a_raw_and_a_smoothed_curve():
    picture = imread(io.BytesIO(draw(RECORDS)["training_loss.png"]))[..., :3]
    assert picture.shape[:2] == (600, 1050)
    dark = (abs(picture - [0x1F / 255, 0x4E / 255, 0x8C / 255]) < 0.05).all(-1)
    light = (abs(picture - [0x9D / 255, 0xB7 / 255, 0xD5 / 255]) < 0.05).all(-1)
    assert dark.sum() > 500
    assert light.sum() > 500


def test_smoothing_keeps_a_constant_and_the_first_value():
    assert smoothed([3.0] * 50) == pytest.approx([3.0] * 50)
    assert smoothed([5.0, 1.0])[0] == pytest.approx(5.0)


def dark(picture):
    """Where the curve itself is drawn: rows, columns."""
    pixels = imread(io.BytesIO(picture))[..., :3]
    return (abs(pixels - [0x1F / 255, 0x4E / 255, 0x8C / 255]) < 0.05).all(-1)


def test_a_single_evaluation_is_one_point_over_the_training_loss():
    picture = draw([*RECORDS, {"current_steps": 59, "eval_loss": 1.0}])["training_eval_loss.png"]
    behind = (abs(imread(io.BytesIO(picture))[..., :3] - 0xB8 / 255) < 0.02).all(-1)
    assert behind.sum() > 300, "the curve of the training loss"
    assert dark(picture).sum() > 20, "the point"


def test_the_title_is_in_the_picture():
    named = imread(io.BytesIO(draw(RECORDS, "runs/mine")["training_loss.png"]))
    other = imread(io.BytesIO(draw(RECORDS, "runs/other")["training_loss.png"]))
    assert (named[:60] != other[:60]).any()
    assert (named[80:] == other[80:]).all()


def test_each_dataset_that_was_evaluated_has_a_curve_of_its_own_colour():
    logged = [
        {"current_steps": n, "eval_loss": 2.0, "eval_$a_loss": 1.0, "eval__b_loss": 3.0}
        for n in (20, 40, 59)
    ]
    drawn = draw([*RECORDS, *logged])
    for color, name in (([0xFF, 0x7F, 0x0E], "$a"), ([0x2C, 0xA0, 0x2C], "_b")):
        of_it = {
            file: (abs(imread(io.BytesIO(picture))[..., :3] * 255 - color) < 12).all(-1).sum()
            for file, picture in drawn.items()
        }
        assert of_it["training_eval_loss.png"] > 300, name
        assert of_it["training_loss.png"] == 0, name

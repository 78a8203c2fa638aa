"""What stands beside weights: everything that opens them elsewhere."""

from seeing_run import STAGE_1, seeing_run
from tiny_run import tiny_run, train
from tunesmith.models.processor import files_of


def test_a_model_that_sees_keeps_its_processor_and_an_adapter_is_told_of_its_base(tmp_path):
    train(seeing_run(tmp_path, save_steps=3, **STAGE_1))
    wanted = files_of(tmp_path / "llava")
    assert wanted
    assert files_of(tmp_path / "out") == files_of(tmp_path / "out" / "checkpoint-3") == wanted


def test_a_model_that_reads_has_none(tmp_path):
    train(tiny_run(tmp_path))
    assert files_of(tmp_path / "out") == {}

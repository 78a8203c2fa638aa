"""One target for all verbs: a run file, a run directory, a model or adapter directory."""

import json

import pytest

from tiny_run import tiny_run
from tunesmith.cli.target import read, served
from tunesmith.errors import ConfigError, ModelError
from tunesmith.training.checkpoint import STATE


def finished(directory, adapter=True):
    directory.mkdir(parents=True)
    for name in ("run.json", "plan.json"):
        (directory / name).write_text("{}")
    (directory / ("adapter_config.json" if adapter else "config.json")).write_text("{}")


def test_a_run_file_and_its_directory_mean_the_same(tmp_path):
    path = tiny_run(tmp_path)
    run = read(str(path), ["learning_rate=0.5"])
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "run.yaml").write_text(path.read_text())
    found = read(str(tmp_path / "copy"), {"learning_rate": 0.5})
    assert found.output.output_dir == tmp_path / "copy", "a copy stands for itself"
    assert (
        read(str(tmp_path / "copy"), {"learning_rate": 0.5, "output_dir": str(tmp_path / "out")})
        == run
    )


def test_a_checkpoint_directory_means_its_own_adapter(tmp_path):
    path = tiny_run(tmp_path)
    finished(tmp_path / "out")
    checkpoint = tmp_path / "out" / "checkpoint-2"
    finished(checkpoint)
    (checkpoint / "run.json").unlink()
    (checkpoint / "run.yaml").write_text(path.read_text())
    assert served(read(str(checkpoint), [])).adapters == (str(checkpoint),)


def test_to_train_a_checkpoint_means_the_run_that_it_belongs_to(tmp_path):
    checkpoint = tmp_path / "out" / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    (checkpoint / "run.yaml").write_text(tiny_run(tmp_path).read_text())
    (checkpoint / STATE).write_text("{}")
    assert read(str(checkpoint), [], to_train=True).output.output_dir == tmp_path / "out"
    assert read(str(checkpoint), []).output.output_dir == checkpoint


def test_an_adapter_named_on_the_command_line_is_the_one_that_is_meant(tmp_path):
    path = tiny_run(tmp_path)
    finished(tmp_path / "out")
    found = served(read(str(path), ["adapter_name_or_path=other"]))
    assert found.adapters == ("other",)


def test_before_training_the_base_is_meant_and_afterwards_the_result(tmp_path):
    run = read(str(tiny_run(tmp_path)), [])
    assert served(run).adapters == ()
    assert served(run).note == f"the model {tmp_path}/model: {tmp_path}/out holds no result yet"
    assert not served(run).complete
    finished(tmp_path / "out")
    assert served(run).adapters == (str(tmp_path / "out"),)


def test_a_run_in_progress_has_no_result_yet(tmp_path):
    run = read(str(tiny_run(tmp_path)), [])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text("{}")
    assert served(run).adapters == ()
    assert served(run).note.endswith("no result yet")
    for step in (9, 10):
        (tmp_path / "out" / f"checkpoint-{step}").mkdir()
    assert served(run).note.endswith("out/checkpoint-10")


def test_a_whole_tuned_model_stands_for_itself(tmp_path):
    path = tiny_run(tmp_path, finetuning_type="full", lora_rank=None)
    finished(tmp_path / "out", adapter=False)
    found = served(read(str(path), []))
    assert (found.model, found.adapters) == (str(tmp_path / "out"), ())


@pytest.mark.parametrize(("new", "kept"), [(False, 1), (True, 2)])
def test_earlier_adapters_stay_below_the_result(tmp_path, new, kept):
    path = tiny_run(tmp_path, adapter_name_or_path="a,b", create_new_adapter=new)
    finished(tmp_path / "out")
    found = served(read(str(path), []))
    assert found.adapters == (*("a", "b")[:kept], str(tmp_path / "out"))


def test_a_model_directory_and_an_adapter_directory_are_targets(tmp_path):
    run = read(str(tiny_run(tmp_path).parent / "model"), ["template=chatml"])
    assert served(run).model == str(tmp_path / "model")
    assert run.dataset.template == "chatml"
    adapter = tmp_path / "an adapter, with a comma"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "base"}))
    found = served(read(str(adapter), {}))
    assert (found.model, found.adapters) == ("base", (str(adapter),))


def test_anything_else_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="empty"):
        read(str(tmp_path / "empty.yaml"), [])
    with pytest.raises(ConfigError):
        read(str(tmp_path), [])
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="adapter_config"):
        read(str(tmp_path), [])
    with pytest.raises(ConfigError, match="model_name_or_path"):
        served(read(str(tiny_run(tmp_path, model_name_or_path=None)), []))


def test_a_target_that_is_too_long_for_any_path_is_no_run_file():
    with pytest.raises(ConfigError, match="too long"):
        read("a" * 5000, [])


@pytest.mark.parametrize("text", ["[]", "{}", '{"base_model_name_or_path": null}'])
def test_an_adapter_that_names_no_model_is_refused(tmp_path, text):
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(ModelError, match="adapter_config"):
        read(str(tmp_path), [])

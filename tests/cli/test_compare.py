"""The base answers as the base alone does, whether its weights are loaded once or twice."""

import pytest

from tiny_run import tiny_run, train
from tunesmith.cli import answering, compare
from tunesmith.config.load import load
from tunesmith.errors import ConfigError
from tunesmith.infer.sampling import GREEDY
from tunesmith.training.report import Silent
from tunesmith.types import Conversation, Message

ASKED = Conversation((Message("user", "Say one 0.\nplease"),))
SHORT = GREEDY._replace(max_new_tokens=8)


@pytest.mark.parametrize(
    ("keys", "once"),
    [
        ({}, True),
        ({"additional_target": "lm_head"}, False),
        ({"finetuning_type": "full", "lora_rank": None}, False),
    ],
    ids=["adapter", "modules in full", "full"],
)
def test_the_base_answers_as_alone_and_the_tuned_model_as_tuned(tmp_path, keys, once):
    path = tiny_run(tmp_path, learning_rate=2e-2, num_train_epochs=10, **keys)
    before = load(path)
    found = answering.find(before, Silent())
    with pytest.raises(ConfigError, match="--compare"):
        compare.require_tuned(before, found)
    alone = found.engine(answering.load(before, found)).generate(ASKED, SHORT)
    train(path)
    run = load(path)
    found = answering.find(run, Silent())
    compare.require_tuned(run, found)
    engine = found.engine(answering.load(run, found))
    tuned = engine.generate(ASKED, SHORT)
    base, how = compare.base_of(run, found, engine, Silent())
    assert isinstance(base, compare.Disabled) == once
    assert ("with the adapter off" in how) == once
    assert base.generate(ASKED, SHORT).ids == alone.ids
    assert alone.ids != tuned.ids
    assert engine.generate(ASKED, SHORT).ids == tuned.ids  # it is on again

"""Settings come from where they say, and the draw is transformers' own, by an oracle."""

import json
from collections import Counter

import pytest
import torch

from tunesmith.errors import ConfigError, ModelError
from tunesmith.infer.sampling import (
    DEFAULTS,
    GREEDY,
    Sampling,
    biased,
    changed,
    lowered,
    narrowed,
    penalised,
    pick,
    read_generation_config,
    resolve,
)


def _logits(seed=0, size=200):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 3


def test_what_nobody_says_is_llama_factorys_default():
    sampling = resolve({})
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.95, 0.7, 50)
    assert sampling.do_sample
    assert sampling.max_new_tokens == 1024
    assert set(sampling.sources.values()) == {"default"}
    assert set(sampling.sources) == set(DEFAULTS)


def test_the_defaults_of_the_class_are_those_of_the_table():
    assert Sampling()._replace(sources=resolve({}).sources) == resolve({})


def test_the_run_file_goes_before_the_model_and_the_model_before_the_defaults():
    model = {"temperature": 0.6, "top_p": 0.95, "eos_token_id": [1, 2]}
    sampling = resolve(
        {"top_p": 0.5, "top_k": None, "lora_rank": 8}, model, places={"top_p": "run.yaml"}
    )
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.6, 0.5, 50)
    assert sampling.sources["top_p"] == "run.yaml"
    assert sampling.sources["temperature"] == "generation_config.json"
    assert sampling.sources["top_k"] == "default"
    assert "temperature: 0.6 (generation_config.json)" in sampling.lines()
    assert "top_p: 0.5 (run.yaml)" in sampling.lines()


def test_greedy_does_not_list_what_it_does_not_use():
    assert not [line for line in GREEDY.lines() if line.startswith(("temperature", "top", "seed"))]


def test_temperature_zero_is_greedy_and_says_so():
    sampling = resolve({"temperature": 0})
    assert not sampling.do_sample
    assert "do_sample: False (temperature 0, run file)" in sampling.lines()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", -0.1),
        ("temperature", "warm"),
        ("temperature", float("nan")),
        ("max_new_tokens", float("inf")),
        ("top_p", 0),
        ("top_p", 1.5),
        ("top_k", -1),
        ("top_k", 2.5),
        ("min_p", 1.1),
        ("repetition_penalty", 0),
        ("max_new_tokens", 0),
        ("max_new_tokens", True),
        ("do_sample", "yes"),
        ("seed", 1.5),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_its_place(key, value):
    with pytest.raises(ConfigError) as caught:
        resolve({key: value}, places={key: "run.yaml"})
    assert caught.value.where == f"run.yaml: {key}"
    with pytest.raises(ConfigError) as caught:
        resolve({}, {key: value})
    assert caught.value.where == f"generation_config.json: {key}"


def test_the_models_own_settings_are_read_and_a_broken_file_is_named(tmp_path):
    assert read_generation_config(tmp_path) == {}
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps({"temperature": 0.6}))
    assert read_generation_config(tmp_path) == {"temperature": 0.6}
    for broken in ("{", "[1]"):
        path.write_text(broken)
        with pytest.raises(ModelError, match=r"generation_config\.json"):
            read_generation_config(tmp_path)


@pytest.mark.parametrize("top_k", [0, 1, 5, 1000])
@pytest.mark.parametrize("top_p", [0.05, 0.7, 1.0])
@pytest.mark.parametrize("min_p", [0.0, 0.1])
@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_the_tokens_that_stay_are_those_of_transformers(top_k, top_p, min_p, spread):
    from transformers.generation.logits_process import (
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    logits = _logits() * spread
    sampling = Sampling(temperature=0.8, top_p=top_p, top_k=top_k, min_p=min_p)
    kept, ids = narrowed(logits, sampling)
    expected = TemperatureLogitsWarper(0.8)(None, logits[None])
    if top_k:
        expected = TopKLogitsWarper(top_k)(None, expected)
    if top_p < 1:
        expected = TopPLogitsWarper(top_p)(None, expected)
    if min_p:
        expected = MinPLogitsWarper(min_p)(None, expected)
    mine = torch.zeros(len(logits)).index_copy(0, ids, kept.softmax(0))
    torch.testing.assert_close(mine, expected[0].softmax(0))


def test_the_penalty_is_that_of_transformers():
    from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

    logits, seen = _logits(1), [3, 3, 17, 199]
    mine = penalised(logits, seen, 1.3)
    theirs = RepetitionPenaltyLogitsProcessor(1.3)(torch.tensor([seen]), logits[None].clone())[0]
    torch.testing.assert_close(mine, theirs)
    assert torch.equal(logits, _logits(1)), "the caller's logits are left alone"
    assert penalised(logits, seen, 1.0) is logits


def test_draws_follow_the_distribution():
    logits = torch.log(torch.tensor([0.5, 0.25, 0.15, 0.1]))
    sampling = Sampling(temperature=1.0, top_p=1.0, top_k=0)
    generator = torch.Generator().manual_seed(0)
    draws = Counter(pick(logits, [], sampling, generator) for _ in range(4000))
    for token, share in enumerate((0.5, 0.25, 0.15, 0.1)):
        assert abs(draws[token] / 4000 - share) < 0.03


def test_one_seed_is_one_sequence_and_another_is_another():
    def sequence(seed):
        generator = torch.Generator().manual_seed(seed)
        return [pick(_logits(i), [], Sampling(top_p=1.0), generator) for i in range(20)]

    assert sequence(1) == sequence(1)
    assert sequence(1) != sequence(2)


def test_greedy_takes_the_best_after_the_penalty():
    logits = torch.tensor([1.0, 3.0, 2.9])
    assert pick(logits, [], GREEDY, None) == 1
    assert pick(logits, [1], GREEDY._replace(repetition_penalty=1.2), None) == 2


def test_an_impossible_token_is_never_drawn():
    logits = torch.tensor([0.0, float("-inf"), 0.0])
    generator = torch.Generator().manual_seed(0)
    sampling = Sampling(temperature=1.0, top_p=1.0, top_k=0)
    assert 1 not in {pick(logits, [], sampling, generator) for _ in range(200)}


def test_penalties_of_the_answer_count_its_tokens_and_not_the_prompts():
    logits = _logits(3)
    made = [4, 7, 4, 4]
    found = lowered(logits, made, 0.5, 0.25)
    wanted = logits.clone()
    for token in set(made):
        wanted[token] -= 0.5 + 0.25 * made.count(token)
    torch.testing.assert_close(found, wanted)
    assert lowered(logits, [], 0.5, 0.25) is logits
    assert lowered(logits, made, 0.0, 0.0) is logits
    sampling = GREEDY._replace(presence_penalty=2.0)
    best = int(logits.argmax())
    assert pick(logits, [best], sampling, None) == best
    assert (
        pick(logits, [best], GREEDY._replace(frequency_penalty=2.0), None, made=[best] * 9) != best
    )


def test_a_bias_is_added_and_minus_a_hundred_never_comes():
    logits = _logits(5)
    best = int(logits.argmax())
    other = (best + 1) % len(logits)
    assert pick(logits, [], GREEDY._replace(logit_bias={other: 100.0}), None) == other
    found = biased(logits, {best: -100.0, other: 1.5})
    assert found[best] == -torch.inf
    assert found[other] == logits[other] + 1.5
    assert biased(logits, {}) is logits


def test_a_setting_that_is_typed_has_the_bounds_and_types_of_a_run_file():
    made = changed(Sampling(), "temperature", "0.2", place="/set")
    assert (made.temperature, made.sources["temperature"]) == (0.2, "/set")
    assert changed(made, "do_sample", "False", place="/set").do_sample is False
    assert changed(made, "top_k", "7", place="/set").top_k == 7
    for name, text in [("top_p", "2"), ("top_k", "1.5"), ("seed", "x"), ("do_sample", "1"),
                       ("temperature", "NaN"), ("heat", "1")]:  # fmt: skip
        with pytest.raises(ConfigError):
            changed(made, name, text, place="/set")


def test_a_temperature_of_zero_is_greedy_until_there_is_a_larger_one():
    greedy = changed(Sampling(), "temperature", "0", place="/set")
    assert greedy == resolve({"temperature": 0})._replace(sources=greedy.sources)
    with pytest.raises(ConfigError, match="do_sample"):
        changed(greedy, "do_sample", "true", place="/set")
    assert changed(greedy, "temperature", "0.5", place="/set").do_sample is True
    asked = resolve({"do_sample": False})
    assert changed(asked, "temperature", "0.5", place="/set").do_sample is False

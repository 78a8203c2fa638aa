"""lm-eval gets from us what it gets from its own models of transformers."""

import json

import pytest
import torch

from tiny_model import tiny_model
from tunesmith.errors import ConfigError
from tunesmith.infer.hf import split_stops
from tunesmith.infer.sampling import Sampling
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.load import load_model
from tunesmith.templates import choose

pytest.importorskip("lm_eval", reason='pip install "tunesmith[lm-eval]"')

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from tunesmith.eval import tasks

WORDS = ["The capital of France is", "two plus two is ", "Once", "a b c d e f g", "Straße 7 und"]
ENDS = [" Paris", "four", " upon a time, there was", " h", " 12 €"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% if not (loop.last and continue_final_message is defined and continue_final_message) %}"
    "<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"), max_position_embeddings=64, template=CHATML)


@pytest.fixture(scope="module")
def ours(directory):
    tokenizer = tokenizers.load(directory)
    renderer = choose("chatml", tokenizer)
    stop_ids, stop_texts = split_stops(tokenizer, ())
    model = load_model(directory, dtype=torch.float32)
    return tasks.Harness(
        tasks.Speaking(model, tokenizer, renderer, stop_ids, stop_texts, Sampling()),
        max_tokens=256,
    )


@pytest.fixture(scope="module")
def theirs(directory):
    # a window of ours has one token less: the last one is read, too
    return HFLM(
        pretrained=str(directory), batch_size=3, dtype="float32", max_length=63, device="cpu"
    )


def requests(kind, *arguments):
    return [Instance(kind, {}, each, number) for number, each in enumerate(arguments)]


@pytest.mark.filterwarnings("ignore")
def test_continuations_are_as_probable(ours, theirs):
    pairs = [(word, end) for word in ["", *WORDS, "so " * 80] for end in ENDS]
    asked = requests("loglikelihood", *pairs)
    right, found = theirs.loglikelihood(asked), ours.loglikelihood(asked)
    assert [hit for _, hit in found] == [hit for _, hit in right]
    assert [p for p, _ in found] == pytest.approx([p for p, _ in right], abs=1e-4)
    assert ours.cut == len(ENDS)


@pytest.mark.filterwarnings("ignore")
def test_whole_texts_are_as_probable_in_the_same_windows(ours, theirs):
    # no two windows alike: theirs takes such for continuations of one context (0.4.13)
    texts = [(text,) for text in [*WORDS, " ".join(str(n * n) for n in range(70))]]
    asked = requests("loglikelihood_rolling", *texts)
    right, found = theirs.loglikelihood_rolling(asked), ours.loglikelihood_rolling(asked)
    assert found == pytest.approx(right, abs=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_texts_go_on_alike(ours, theirs):
    keys = {"until": ["e", "\n\n"], "max_gen_toks": 20}
    long = ("so " * 80, keys)
    asked = requests("generate_until", *((word, keys) for word in WORDS), long)
    right = theirs.generate_until(asked)
    assert ours.generate_until(asked) == right
    assert any(right)


def test_what_is_drawn_and_what_cannot_be(ours):
    keys = {"until": [], "max_gen_toks": 8, "do_sample": True, "temperature": 1.5, "top_p": 1.0}
    (request,) = requests("generate_until", ("Once", keys))
    assert ours._request(*request.args).sampling.temperature == 1.5
    assert not ours._request("Once", {**keys, "temperature": 0.0}).sampling.do_sample
    with pytest.raises(ConfigError, match="num_beams"):
        ours._request("Once", {**keys, "num_beams": 4})
    with pytest.raises(ConfigError, match="max_gen_toks"):
        ours._request("Once", {**keys, "max_gen_toks": 64})


@pytest.mark.filterwarnings("ignore")
def test_turns_are_the_text_of_the_template(ours, theirs):
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Me"},
    ]
    assert ours.apply_chat_template(turns[:2]) == theirs.apply_chat_template(turns[:2])
    for history in (turns, turns[1:]):
        open_answer = {"add_generation_prompt": False}
        assert ours.apply_chat_template(history, **open_answer) == theirs.apply_chat_template(
            history, **open_answer
        )
    assert ours.chat_template(True) == "chatml"
    assert ours.chat_template() is None


@pytest.mark.filterwarnings("ignore")
def test_a_task_of_ones_own_has_the_same_figures(ours, theirs, tmp_path):
    from lm_eval import simple_evaluate

    rows = [
        {"q": f"Say {n}:", "choices": [f" {m} and {m}" for m in range(n, n + 3)], "a": n % 3}
        for n in range(8)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.yaml").write_text(
        json.dumps({
            "task": "mine", "dataset_path": "json", "output_type": "multiple_choice",
            "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
            "test_split": "test", "doc_to_text": "q", "doc_to_choice": "choices",
            "doc_to_target": "a", "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        })
    )  # fmt: skip
    asked = tasks.Asked(("mine",), include=tmp_path)
    manager = tasks.known(asked)
    found = tasks.measure(ours, asked, manager)
    right = simple_evaluate(theirs, tasks=["mine"], task_manager=manager, log_samples=False)
    assert found["results"]["mine"] == right["results"]["mine"]
    names, figures = zip(*tasks.table(found), strict=True)
    assert names == ("mine, 0 shots: acc", "mine, 0 shots: acc_norm")
    assert figures[0].startswith(f"{right['results']['mine']['acc,none']:.4f} ± ")
    with pytest.raises(ConfigError, match="minee") as none:
        tasks.known(asked._replace(tasks=("minee",)))
    assert none.value.hint == "mine"

"""Tokens that a run adds are learned, saved, and there wherever the result is used."""

import json

import pytest
import torch
from safetensors.torch import load_file

from tiny_model import tiny_model
from tiny_run import tiny_rows, tiny_run, train
from tunesmith.cli.main import main
from tunesmith.config.load import load
from tunesmith.errors import ConfigError
from tunesmith.models import adapters
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.load import load_model
from tunesmith.training.material import gather
from tunesmith.training.report import Silent

NEW = {"resize_vocab": True, "add_special_tokens": "<|go|>", "add_tokens": "zebra,okapi"}
ROWS = [
    {"instruction": f"zebra {row['instruction']}", "output": f"{row['output']} okapi"}
    for row in tiny_rows(6)
]
TEMPLATE = """\
name: mine
stop_words: ["<|stop|>"]
replace_eos: true
roles:
  user:      {open: "<|go|>", stop: "\\n"}
  assistant: {stop: "<|stop|>"}
"""


def added(tmp_path, **keys):
    """A run that adds tokens, in the template as well."""
    (tmp_path / "mine.yaml").write_text(TEMPLATE)
    template = str(tmp_path / "mine.yaml")
    return tiny_run(tmp_path, rows=ROWS, **(NEW | {"template": template} | keys))


def test_new_tokens_are_in_ids_notes_and_counts(tmp_path):
    material = gather(load(added(tmp_path)), Silent())
    ids = {name: material.tokenizer.id_of(name) for name in ("<|go|>", "<|stop|>", "zebra")}
    assert ids == {"<|go|>": 468, "<|stop|>": 469, "zebra": 470}
    example = material.data.train[0]
    assert {*ids.values(), material.tokenizer.id_of("okapi")} <= set(example.ids.tolist())
    assert example.ids[example.trained].tolist()[-1] == ids["<|stop|>"]
    (note,) = material.tokenizer_notes
    assert "<|go|> (id 468)" in note
    assert "4 in spare rows, 0 in new ones" in note
    plain = gather(load(tiny_run(tmp_path)), Silent())
    assert material.trainable - plain.trainable == 4 * 64


def test_without_resize_vocab_they_are_refused_by_key(tmp_path):
    for key in ("add_tokens", "add_special_tokens", "new_special_tokens_config"):
        with pytest.raises(ConfigError) as caught:
            load(None, {key: "zebra"})
        assert "resize_vocab: true" in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        gather(load(added(tmp_path, resize_vocab=None, add_special_tokens=None,
                          add_tokens=None)), Silent())  # fmt: skip
    assert "<|stop|>" in caught.value.got


def test_a_run_with_nothing_to_add_says_so(tmp_path):
    path = tiny_run(tmp_path, resize_vocab=True, add_tokens="<think>")
    (note,) = gather(load(path), Silent()).tokenizer_notes
    assert "nothing to act on" in note


@pytest.mark.parametrize(
    ("rows", "tied"),
    [
        (468, True),
        (512, False),
        pytest.param(468, False, marks=pytest.mark.slow),
        pytest.param(512, True, marks=pytest.mark.slow),
    ],
)
def test_a_trained_adapter_is_whole_in_chat_eval_export_and_peft(tmp_path, capsys, rows, tied):
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    path = added(tmp_path, model={"vocab": rows, "tied": tied}, val_size=0.2)
    result = train(path)
    out = result.output_dir
    stored = load_file(out / adapters.WEIGHTS)
    deltas = [name for name in stored if "trainable_tokens_delta" in name]
    assert len(deltas) == (1 if tied else 2)
    assert (out / adapters.WEIGHTS).stat().st_size < 200_000
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
    turns = [{"role": "user", "content": "zebra"}]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert ids[:2] == [468, 470]
    ours = load_model(tmp_path / "model", dtype=torch.float32)
    adapters.load_adapter(ours, out, trainable=False)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    if rows < 472:
        base.resize_token_embeddings(472)
    theirs = peft.PeftModel.from_pretrained(base, out).eval()
    told = torch.tensor([ids])
    with torch.no_grad():
        torch.testing.assert_close(theirs(told).logits, ours(told).logits, atol=1e-5, rtol=1e-5)
        change = ours.model.embed_tokens.token_rows - ours.model.embed_tokens.weight[468:472]
        assert (change.abs().sum(1) > 1e-3).sum() >= 3  # what occurs has been learned
    capsys.readouterr()
    assert main(["eval", str(path), "--json"]) == 0
    loss = json.loads(capsys.readouterr().out)["eval_loss"]
    assert loss == pytest.approx(result.metrics["eval_loss"], rel=1e-4)
    assert main(["eval", str(path), "--base", "--json"]) == 0
    assert main(["export", str(path), f"export_dir={tmp_path / 'merged'}"]) == 0
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        torch.testing.assert_close(merged(told).logits, ours(told).logits, atol=1e-4, rtol=1e-4)
    assert tokenizers.load(tmp_path / "merged").id_of("okapi") == 471


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.parametrize("tied", [True, False])
def test_whole_matrices_grow_as_well(tmp_path, capsys, tied):
    """`additional_target: embed_tokens,lm_head` is what users of other tools write."""
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    path = added(tmp_path, model={"vocab": 468, "tied": tied}, val_size=0.2, max_steps=2,
                 additional_target="embed_tokens,lm_head")  # fmt: skip
    result = train(path)
    capsys.readouterr()
    assert main(["eval", str(path), "--json"]) == 0
    loss = json.loads(capsys.readouterr().out)["eval_loss"]
    assert loss == pytest.approx(result.metrics["eval_loss"], rel=1e-4)
    assert main(["export", str(path), f"export_dir={tmp_path / 'merged'}"]) == 0
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    base.resize_token_embeddings(472)
    theirs = peft.PeftModel.from_pretrained(base, result.output_dir).eval()
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    ids = torch.tensor([[468, 470, 40, 471, 469]])
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, ours(ids).logits, atol=1e-4, rtol=1e-4)


def test_chat_answers_with_the_adapters_tokenizer(tmp_path, capsys, monkeypatch):
    import io

    path = added(tmp_path, max_steps=1)
    train(path)
    monkeypatch.setattr("sys.stdin", io.StringIO("zebra\n"))
    assert main(["chat", str(path), "max_new_tokens=2"]) == 0


@pytest.mark.parametrize("method", ["full", "freeze"])
def test_whole_models_are_saved_with_the_rows(tmp_path, method):
    path = added(tmp_path, finetuning_type=method, lora_rank=None, model={"vocab": 468},
                 max_steps=1)  # fmt: skip
    out = train(path).output_dir
    model = load_model(out, dtype=torch.float32)
    assert len(model.get_input_embeddings().weight) == 472
    assert tokenizers.load(out).id_of("okapi") == 471


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path):
    keys = {"save_steps": 1, "max_steps": 3, "lr_scheduler_type": "constant"}
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    for place in (straight, broken):
        place.mkdir()
    train(added(straight, **keys))
    path = added(broken, **keys)
    train(path, max_steps=2)
    train(path)
    one, two = ((place / "out" / adapters.WEIGHTS) for place in (straight, broken))
    first, second = load_file(one), load_file(two)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_an_adapter_is_gone_on_with_by_its_own_tokens(tmp_path):
    first = train(added(tmp_path, max_steps=1)).output_dir
    keys = {"adapter_name_or_path": str(first), "output_dir": str(tmp_path / "two")}
    material = gather(load(added(tmp_path, **keys)), Silent())
    assert material.words.token_ids == ()
    assert material.tokenizer.id_of("zebra") == 470
    second = train(added(tmp_path, max_steps=1, **keys)).output_dir
    assert adapters.CONFIG in {path.name for path in second.iterdir()}
    more = NEW["add_tokens"] + ",quagga"
    with pytest.raises(ConfigError) as caught:
        gather(load(added(tmp_path, **keys, add_tokens=more)), Silent())
    assert "quagga" in caught.value.got
    anew = load(added(tmp_path, **keys, add_tokens=more, create_new_adapter=True, max_steps=1))
    assert gather(anew, Silent()).words.token_ids == (472,)


def test_descriptions_say_what_a_new_row_is_like(tmp_path):
    (tmp_path / "new.yaml").write_text('"<|go|>": the quick brown fox\n"<|plain|>": ""\n')
    path = tiny_run(tmp_path, model={"tied": False}, resize_vocab=True,
                    new_special_tokens_config=str(tmp_path / "new.yaml"))  # fmt: skip
    words = gather(load(path), Silent()).words
    assert words.token_ids == (468, 469)
    model = load_model(tmp_path / "model", dtype=torch.float32)
    weight = model.lm_head.weight.detach().clone()
    words.make_rows(model)
    ids = words.tokenizer.backend.encode("the quick brown fox").ids
    torch.testing.assert_close(model.lm_head.weight[468], weight[ids].mean(0))
    torch.testing.assert_close(model.lm_head.weight[469], weight[:468].mean(0))


def test_another_description_is_another_plan(tmp_path):
    from tunesmith.training import run as training

    path = tiny_run(tmp_path, resize_vocab=True,
                    new_special_tokens_config=str(tmp_path / "new.yaml"))  # fmt: skip
    identities = []
    for text in ("the fox", "the fox", "the dog"):
        (tmp_path / "new.yaml").write_text(f'"<|go|>": {text}\n')
        identities.append(training.plan(load(path), Silent())[0].identity)
    assert identities[0] == identities[1] != identities[2]


@pytest.mark.parametrize("text", [None, "- a\n", "<|go|>: 3\n", ""])
def test_a_file_of_descriptions_that_cannot_be_used_is_one_error(tmp_path, text):
    if text is not None:
        (tmp_path / "new.yaml").write_text(text)
    tiny_model(tmp_path, name="model")
    path = tiny_run(
        tmp_path, resize_vocab=True, new_special_tokens_config=str(tmp_path / "new.yaml")
    )
    with pytest.raises(ConfigError) as caught:
        gather(load(path), Silent())
    assert "new.yaml" in str(caught.value)

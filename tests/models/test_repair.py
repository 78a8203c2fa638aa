"""A repaired model directory loads here and elsewhere, and says the same about old tokens."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tiny_model import tiny_model
from tiny_tokenizer import load_tiny
from tunesmith import store
from tunesmith.errors import ModelError, OutputError
from tunesmith.models import repair as repairs
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.doctor import check
from tunesmith.models.repair import repair
from tunesmith.models.source import check_directory

TOKENS = 468
NAMED = {"unk": "<|extra_0|>", "bos": "<|extra_1|>", "eos": "<|endoftext|>"}


def broken(directory, **named):
    """Tokens named in tokenizer_config.json that may not exist."""
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {f"{key}_token": token for key, token in named.items()}))
    return directory


@pytest.mark.parametrize("rows", [TOKENS, TOKENS + 1, 512])
@pytest.mark.parametrize("tied", [True, False])
def test_stock_transformers_gets_equal_ids_and_equal_logits_on_old_tokens(tmp_path, tied, rows):
    source = tiny_model(tmp_path, "llama", tied=tied, vocab=rows)
    out = tmp_path / "out"
    done = repair(source, out, NAMED)
    check_directory(out)
    assert done.rows == max(rows, TOKENS + 2)
    assert [token.spare for token in done.new] == [rows > TOKENS, rows > TOKENS + 1]
    stock = AutoTokenizer.from_pretrained(out)
    assert (stock.unk_token, stock.bos_token, stock.eos_token) == tuple(NAMED.values())
    old = tokenizers.load(source)
    for text in tokenizers.PROBE:
        ids = old.backend.encode(text).ids
        assert stock(text)["input_ids"] == ids == tokenizers.load(out).backend.encode(text).ids
    assert len(stock) <= done.rows
    ids = torch.tensor([old.backend.encode(tokenizers.PROBE[0]).ids])
    one, two = (AutoModelForCausalLM.from_pretrained(path) for path in (source, out))
    with torch.no_grad():
        said, says = one(ids).logits[..., :TOKENS], two(ids).logits
    torch.testing.assert_close(says[..., :TOKENS], said)
    assert says.shape[-1] == done.rows == two.config.vocab_size
    assert (two.config.bos_token_id, two.config.eos_token_id) == (stock.bos_token_id, 0)
    assert two.generation_config.eos_token_id == 0
    assert store.read_manifest(out).facts["kind"] == repairs.KIND


def test_without_a_new_token_every_weight_keeps_its_bytes(tmp_path):
    source = tiny_model(tmp_path)
    (source / "LICENSE").write_text("mine")
    done = repair(source, tmp_path / "out", {"pad": "<|im_end|>"})
    assert done.new == ()
    out = tmp_path / "out"
    assert (out / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
    assert (out / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    assert (out / "LICENSE").read_text() == "mine"
    assert tokenizers.load(out).pad == "<|im_end|>"
    assert json.loads((out / "config.json").read_text())["pad_token_id"] == 2


@pytest.mark.parametrize("named", [{"pad": "<|im_end|>"}, {"unk": "<|extra_0|>"}])
@pytest.mark.parametrize("rows", [TOKENS - 1, 100, 2])
def test_an_embedding_smaller_than_the_tokenizer_gets_a_row_for_every_id(tmp_path, rows, named):
    source = tiny_model(tmp_path, vocab=rows)
    done = repair(source, tmp_path / "out", named)
    assert (done.rows_before, done.rows) == (rows, TOKENS + len(done.new))
    assert any(f"{TOKENS - rows} ids had no row" in note for note in done.notes)
    assert check(tokenizers.load(tmp_path / "out"), done.rows).errors == ()
    before, after = (load_file(d / "model.safetensors") for d in (source, tmp_path / "out"))
    for key, matrix in before.items():
        assert torch.equal(after[key][: len(matrix)], matrix)


@pytest.mark.parametrize("token", ["a", "the"])
def test_a_piece_of_words_is_refused_as_a_named_token(tmp_path, token):
    source = tiny_model(tmp_path)
    assert load_tiny().id_of(token) is not None
    with pytest.raises(ModelError) as caught:
        repair(source, tmp_path / "out", {"eos": token})
    assert caught.value.where == f"--fix eos={token}"
    assert "ordinary words" in caught.value.got
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_names_that_no_token_has_can_be_repaired(tmp_path):
    source = broken(tiny_model(tmp_path), bos="<s>", unk="<gone>")
    with pytest.raises(ModelError) as caught:
        tokenizers.load(source)
    assert "--fix bos=" in caught.value.hint
    done = repair(source, tmp_path / "out", {"bos": "<|im_start|>"})
    assert done.named["bos"] == ("<s>", "<|im_start|>", 1)
    fixed = tokenizers.load(tmp_path / "out")
    assert (fixed.bos, fixed.unk) == ("<|im_start|>", None)
    assert check(fixed, 512).errors == ()


def test_a_former_end_that_the_models_own_template_writes_goes_on_stopping(tmp_path):
    source = tiny_model(tmp_path)
    former = tokenizers.load(source)
    (source / "chat_template.jinja").write_text(f"{{{{ messages }}}}{former.eos}")
    repair(source, tmp_path / "out", {"eos": "<|endoftext|>"})
    written = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert written["eos_token_id"] == [0, former.id_of(former.eos)]


def test_further_ends_stay_and_the_former_one_goes(tmp_path):
    source = tiny_model(tmp_path)
    (source / "generation_config.json").write_text('{"eos_token_id": [2, 1], "top_p": 0.5}')
    repair(source, tmp_path / "out", {"eos": "<|endoftext|>"})
    written = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert written["eos_token_id"] == [0, 1]
    assert written["top_p"] == 0.5


def test_16_bit_weights_stay_so(tmp_path):
    source = tiny_model(tmp_path, vocab=TOKENS)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    model.save_pretrained(source)
    repair(source, tmp_path / "out", {"unk": "<|extra_0|>"})
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    before = load_file(source / "model.safetensors")
    for name, tensor in before.items():
        assert torch.equal(weights[name][: len(tensor)], tensor), name


def test_a_model_that_says_something_else_is_not_written(tmp_path, monkeypatch):
    def spoil(model, extended):
        make_rows(model, extended)
        model.get_input_embeddings().weight.data[40] += 1

    make_rows = repairs.make_rows
    monkeypatch.setattr(repairs, "make_rows", spoil)
    with pytest.raises(ModelError) as caught:
        repair(tiny_model(tmp_path), tmp_path / "out", {"unk": "<|extra_0|>"})
    assert "differs" in caught.value.got
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


@pytest.mark.parametrize("place", ["full", "file", "model", "above"])
def test_nothing_is_overwritten(tmp_path, place):
    source = tiny_model(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    out = {"model": source, "above": tmp_path}.get(place, tmp_path / place)
    with pytest.raises(OutputError):
        repair(source, out, {"pad": "<|im_end|>"})
    assert (tmp_path / "full" / "mine").read_text() == (tmp_path / "file").read_text() == "mine"


def test_the_lines_say_what_took_which_row(tmp_path):
    done = repair(tiny_model(tmp_path, vocab=TOKENS + 1), tmp_path / "out", NAMED)
    text = "\n".join(done.lines())
    for words in ("eos  <|endoftext|> (id 0), was <|im_end|>", "<|extra_0|> takes a spare row",
                  "<|extra_1|> takes a new row", "469 to 470"):  # fmt: skip
        assert words in text
    assert json.loads(json.dumps(done.as_dict(), default=str))["named"]["bos"]["id"] == 469
    assert Path(done.as_dict()["directory"]) == tmp_path / "out"
    assert load_tiny().id_of("<|extra_0|>") is None

"""`tokenizer.json` decides: what is loaded, written and compared gives its ids."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tokenizers
import transformers
from tokenizers import AddedToken

from tiny_model import tiny_model
from tiny_tokenizer import tiny_tokenizer
from tunesmith.errors import ModelError
from tunesmith.models import tokenizer as room

SHARED = Path(__file__).parents[3] / "shared"
REAL = ("smollm2", "qwen3", "mistral_v1")


def _real(name: str) -> Path:
    directory = SHARED / "tokenizers" / name
    if not directory.exists():
        pytest.skip("no shared tokenizers beside the checkout")
    return directory


def _copy(source: Path, target: Path, **config) -> Path:
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    _edit(target, **config)
    return target


def _edit(directory: Path, name: str = "tokenizer_config.json", **keys) -> None:
    path = directory / name
    before = json.loads(path.read_text(encoding="utf8")) if path.exists() else {}
    path.write_text(json.dumps(before | keys), encoding="utf8")


def _edit_backend(directory: Path, edit) -> None:
    path = directory / "tokenizer.json"
    backend = tokenizers.Tokenizer.from_file(str(path))
    edit(backend)
    backend.save(str(path))


def test_loading_needs_no_transformers_and_no_torch(tmp_path):
    tiny_tokenizer(tmp_path)
    code = (
        "import sys; from pathlib import Path; from tunesmith.models import tokenizer;"
        f"tokenizer.load(Path({str(tmp_path)!r}));"
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_named_tokens_are_read_as_text_and_as_records(tmp_path):
    tiny_tokenizer(tmp_path, "{{ messages }}")
    _edit(tmp_path, bos_token={"content": "<|im_start|>", "lstrip": False}, unk_token=None)
    found = room.load(tmp_path)
    assert (found.bos, found.eos, found.pad, found.unk) == (
        "<|im_start|>", "<|im_end|>", "<|endoftext|>", None
    )  # fmt: skip
    assert found.chat_template == "{{ messages }}"
    assert found.path == tmp_path


def test_names_that_a_processor_asks_for_are_kept(tmp_path):
    tiny_tokenizer(tmp_path / "a")
    named = {"image_token": "<|endoftext|>", "lost_token": "<not in the vocabulary>"}
    _edit(tmp_path / "a", boi_token="<|im_start|>", extra_special_tokens=named)
    room.save(room.load(tmp_path / "a"), tmp_path / "b")
    made = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path / "b")
    assert (made.boi_token, made.image_token) == ("<|im_start|>", "<|endoftext|>")
    assert made.image_token_id == room.load(tmp_path / "b").id_of("<|endoftext|>")
    assert not hasattr(made, "lost_token")
    room.save(room.load(tmp_path / "b"), tmp_path / "c")
    written = [(tmp_path / name / "tokenizer_config.json").read_text() for name in "bc"]
    assert written[0] == written[1]


def test_special_tokens_map_fills_what_the_config_does_not_say(tmp_path):
    tiny_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    _edit(tmp_path, "special_tokens_map.json", eos_token={"content": "<|im_end|>"})
    assert room.load(tmp_path).eos == "<|im_end|>"


def test_the_end_tokens_of_the_generation_config_are_stops(tmp_path):
    directory = tiny_model(tmp_path)
    _edit(directory, "generation_config.json", eos_token_id=[2, 0, 511_000])
    found = room.load(directory)
    assert (found.eos, found.stops) == ("<|im_end|>", ("<|endoftext|>",))


def test_without_a_named_end_the_config_decides(tmp_path):
    directory = tiny_model(tmp_path)
    (directory / "generation_config.json").unlink()
    _edit(directory, eos_token=None)
    assert room.load(directory).eos == "<|im_end|>"


def test_chat_template_file_wins_over_the_inline_one(tmp_path):
    tiny_tokenizer(tmp_path, "inline")
    assert room.load(tmp_path).chat_template == "inline"
    (tmp_path / "chat_template.json").write_text('{"chat_template": "processor"}')
    assert room.load(tmp_path).chat_template == "processor"
    (tmp_path / "chat_template.jinja").write_text("file")
    assert room.load(tmp_path).chat_template == "file"


@pytest.mark.parametrize(
    ("names", "expected"), [(["default", "tool"], "D"), (["only"], "O"), (["a", "b"], None)]
)
def test_of_several_templates_the_default_one_is_the_models_own(tmp_path, names, expected):
    tiny_tokenizer(tmp_path)
    listed = [{"name": name, "template": name[0].upper()} for name in names]
    _edit(tmp_path, chat_template=listed)
    assert room.load(tmp_path).chat_template == expected


def test_a_stored_truncation_or_padding_cuts_nothing(tmp_path):
    tiny_tokenizer(tmp_path)
    before = room.load(tmp_path).backend.encode("Hello there! " * 9).ids

    def limit(backend):
        backend.enable_truncation(4)
        backend.enable_padding(length=64)

    _edit_backend(tmp_path, limit)
    assert room.load(tmp_path).backend.encode("Hello there! " * 9).ids == before


@pytest.mark.parametrize("key", ["bos_token", "eos_token", "pad_token", "unk_token"])
def test_a_named_token_outside_the_vocabulary_is_refused(tmp_path, key):
    tiny_tokenizer(tmp_path)
    _edit(tmp_path, **{key: "<|nowhere|>"})
    with pytest.raises(ModelError, match=key):
        room.load(tmp_path)


def test_added_tokens_that_contradict_tokenizer_json_are_refused(tmp_path):
    tiny_tokenizer(tmp_path)
    _edit(tmp_path, added_tokens_decoder={"7": {"content": "<|im_end|>"}})
    with pytest.raises(ModelError, match=r"added_tokens_decoder\.7"):
        room.load(tmp_path)


def test_a_directory_without_tokenizer_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"need  tokenizer\.json"):
        room.load(tiny_model(tmp_path, tokenizer=False))
    with pytest.raises(ModelError, match="no such directory"):
        room.load(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", "{}", "version https://git-lfs.github.com/spec/v1\n"])
def test_a_broken_tokenizer_json_is_refused(tmp_path, text):
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        room.load(tmp_path)


def test_a_tokenizer_in_python_code_needs_the_flag(tmp_path):
    _edit(tmp_path, auto_map={"AutoTokenizer": ["tok.Own", None]})
    with pytest.raises(ModelError, match="auto_map") as caught:
        room.load(tmp_path)
    assert "trust_remote_code" in caught.value.hint


@pytest.mark.parametrize("name", REAL)
def test_real_tokenizers_get_the_ids_of_their_file(name):
    found = room.load(_real(name))
    rows = json.loads((SHARED / "data" / "alpaca_zh_demo.json").read_text(encoding="utf8"))[:20]
    room.check_rows(found, [row["output"] for row in rows])


def test_rows_that_another_tokenizer_reads_otherwise_are_refused(tmp_path):
    found = room.load(tiny_tokenizer(tmp_path))
    _edit_backend(tmp_path, lambda backend: backend.add_tokens([AddedToken("zebra")]))
    room.check_rows(found, ["nothing striped here"])
    with pytest.raises(ModelError, match="a zebra"):
        room.check_rows(found, ["a zebra"])


def test_the_class_of_transformers_is_the_same_tokenizer(tmp_path):
    found = room.load(tiny_tokenizer(tmp_path, "T{{ messages[0].content }}"))
    made = room.to_hf(found)
    assert made("Hello <|im_end|>")["input_ids"] == found.backend.encode("Hello <|im_end|>").ids
    assert (made.eos_token_id, made.pad_token_id, made.bos_token_id) == (2, 0, None)
    assert made.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "Tx"
    assert made.model_max_length == 2048


def _digits_together(directory: Path) -> Path:
    """A GPT-2 style tokenizer with `12` as one token: Qwen's splits every digit."""
    from tokenizers import decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate([*letters, "12", "<|im_end|>"])}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[("1", "2")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|im_end|>"])
    directory.mkdir()
    backend.save(str(directory / "tokenizer.json"))
    _edit(directory, eos_token="<|im_end|>", tokenizer_class="PreTrainedTokenizerFast")
    return directory


def test_stock_is_silently_wrong_beside_a_qwen2_config_and_we_are_not(tmp_path):
    directory = _digits_together(tmp_path / "m")
    assert room.check_stock(directory) == []
    _edit(directory, "config.json", model_type="qwen2")
    found = room.check_stock(directory, ["only 12 here"])
    wrong = next(d for d in found if d.text == "only 12 here")
    right = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json")).encode(wrong.text).ids
    assert wrong.loader == "Qwen2Tokenizer"
    assert wrong.ids == right != wrong.other
    ours = room.load(directory)
    assert ours.backend.encode(wrong.text).ids == right
    assert room.to_hf(ours)(wrong.text)["input_ids"] == right
    room.check_rows(ours, [wrong.text])


def test_the_named_loader_is_right_where_stock_is_wrong(tmp_path):
    from transformers import PreTrainedTokenizerFast

    directory = _digits_together(tmp_path / "m")
    _edit(directory, "config.json", model_type="qwen2")
    assert room.RIGHT_LOADER.endswith("PreTrainedTokenizerFast.from_pretrained")
    made = PreTrainedTokenizerFast.from_pretrained(directory)
    assert room.compare(room.load(directory).backend, made, room.PROBE) == []


def test_deepseek_beside_qwen2_is_the_tutorials_pairing(tmp_path):
    directory = _copy(_real("deepseek_v3"), tmp_path / "m")
    _edit(directory, "config.json", model_type="qwen2")
    rows = json.loads((SHARED / "data" / "alpaca_zh_demo.json").read_text(encoding="utf8"))
    answers = [row["output"] for row in rows[:1000]]
    wrong = {d.text for d in room.check_stock(directory, answers)}
    assert sum(answer in wrong for answer in answers) == 192  # the figure of the design
    room.check_rows(room.load(directory), answers[:50])


@pytest.mark.parametrize("beside", ["llama", "qwen3", "mistral", "gemma"])
@pytest.mark.parametrize("before", ["LlamaTokenizer", "Qwen2TokenizerFast", None])
def test_what_is_written_opens_in_stock_transformers_with_equal_ids(tmp_path, beside, before):
    source = tiny_tokenizer(tmp_path / "source", "{{ messages }}")
    _edit(source, tokenizer_class=before, add_bos_token=True)
    found = room.load(source)
    room.save(found, tmp_path / "out")
    _edit(tmp_path / "out", "config.json", model_type=beside)
    assert room.check_stock(tmp_path / "out") == []
    again = room.load(tmp_path / "out")
    assert again._replace(backend=None, path=None) == found._replace(backend=None, path=None)


@pytest.mark.parametrize("name", REAL)
def test_real_tokenizers_survive_being_written(tmp_path, name):
    source = _real(name)
    found = room.load(source)
    room.save(found, tmp_path / "out")
    out = tmp_path / "out"
    assert (out / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    assert room.check_stock(out) == []
    assert room.load(out).chat_template == found.chat_template


def test_template_and_end_token_can_be_replaced_on_writing(tmp_path):
    found = room.load(tiny_tokenizer(tmp_path / "a", "old"))
    room.save(found, tmp_path / "b", chat_template="new", eos="<|endoftext|>")
    again = room.load(tmp_path / "b")
    assert (again.chat_template, again.eos) == ("new", "<|endoftext|>")
    written = json.loads((tmp_path / "b" / "special_tokens_map.json").read_text())
    assert written == {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    with pytest.raises(ModelError, match="eos"):
        room.save(found, tmp_path / "c", eos="<|nowhere|>")


def test_a_tokenizer_changed_in_memory_is_written_as_it_is_in_memory(tmp_path):
    found = room.load(tiny_tokenizer(tmp_path / "a"))
    found.backend.add_tokens([AddedToken("zebra")])
    room.save(found, tmp_path / "b")
    assert room.load(tmp_path / "b").id_of("zebra") == found.id_of("zebra") is not None


def test_a_tokenizer_whose_files_are_gone_can_still_be_written(tmp_path):
    found = room.load(tiny_tokenizer(tmp_path / "a"))
    shutil.rmtree(tmp_path / "a")
    room.save(found, tmp_path / "b")
    assert room.load(tmp_path / "b").backend.to_str() == found.backend.to_str()

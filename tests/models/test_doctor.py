"""The doctor finds what is wrong with a tokenizer, and is quiet about what is right."""

import json

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from real_tokenizers import NAMES, real
from tiny_tokenizer import load_tiny, tiny_tokenizer
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.doctor import Wanted, check, comparisons, token_id
from tunesmith.models.findings import Finding, Report
from tunesmith.types import Tokenizer as Ours

CHATML = Wanted(
    "chatml",
    stop_words=("<|im_end|>",),
    ends=("<|im_end|>",),
    marks=("<|im_start|>", "<|im_end|>"),
)


def of(report, what):
    """The findings about one thing."""
    return [finding for finding in report.findings if finding.what == what]


def levels(report):
    return {finding.what: finding.level for finding in report.findings}


def test_a_sound_tokenizer_has_no_warning():
    report = check(load_tiny(), 512, wanted=CHATML)
    assert (report.errors, report.warnings) == ((), ())
    assert levels(report) == {
        "bos": "note", "eos": "ok", "unk": "note", "pad": "ok",
        "named": "ok", "embedding": "ok", "stop word": "ok",
    }  # fmt: skip
    assert "44 to spare" in of(report, "embedding")[0].found


@pytest.mark.parametrize("name", ["bos", "eos", "unk", "pad"])
def test_a_named_token_that_does_not_exist_is_an_error(name):
    report = check(load_tiny()._replace(**{name: "<gone>"}), 512)
    assert [finding.what for finding in report.errors] == [name]
    assert f"--fix {name}=" in report.errors[0].todo


def test_a_missing_bos_is_a_note_unless_the_template_begins_with_it():
    needs = CHATML._replace(needs_bos=True)
    assert levels(check(load_tiny(), 512, wanted=CHATML))["bos"] == "note"
    assert levels(check(load_tiny(), 512, wanted=needs))["bos"] == "warning"
    assert levels(check(load_tiny(bos="<|im_start|>"), 512, wanted=needs))["bos"] == "ok"


def test_without_an_end_a_model_talks_on():
    endless = load_tiny()._replace(eos=None)
    assert levels(check(endless, 512))["eos"] == "warning"
    assert levels(check(endless, 512, wanted=CHATML))["eos"] == "note"
    nothing = CHATML._replace(stop_words=())
    assert levels(check(endless, 512, wanted=nothing))["eos"] == "error"


def test_characters_without_a_token_are_named_only_where_there_are_any():
    words = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    plain = load_tiny()._replace(backend=words, eos="a", pad=None)
    assert levels(check(plain, 2))["unk"] == "warning"
    assert levels(check(plain._replace(unk="[UNK]"), 2))["unk"] == "ok"


@pytest.mark.parametrize("pad", ["eos", "unk"])
def test_pad_may_be_another_token(pad):
    tiny = load_tiny()._replace(unk="<|endoftext|>")
    report = check(tiny._replace(pad=getattr(tiny, pad)), 512)
    assert report.errors == report.warnings == ()
    names = "eos = pad" if pad == "eos" else "unk = pad"
    assert levels(report)[names] == "note"


@pytest.mark.parametrize(("times", "level"), [(0, "note"), (1, "ok"), (2, "warning")])
def test_a_text_starts_with_bos_exactly_once(times, level):
    tiny = load_tiny(bos="<|im_start|>")
    if times:
        single = " ".join(["<|im_start|>"] * times) + " $A"
        number = tiny.id_of("<|im_start|>")
        tiny.backend.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=[("<|im_start|>", number)]
        )
    assert levels(check(tiny, 512))["beginning"] == level


def test_an_id_without_a_row_is_an_error_where_it_is_needed():
    tiny = load_tiny()
    assert levels(check(tiny, 468))["embedding"] == "ok"
    assert levels(check(tiny, 467))["embedding"] == "note"  # </think>, an added token
    assert levels(check(tiny._replace(unk="</think>"), 467))["embedding"] == "error"
    assert levels(check(tiny._replace(pad="</think>"), 467))["embedding"] == "warning"
    assert levels(check(tiny, 467, wanted=Wanted("t", marks=("</think>",))))["embedding"] == "error"
    assert levels(check(tiny, 400))["embedding"] == "error"  # ordinary pieces of text
    assert "</think> (467)" in of(check(tiny, 467), "embedding")[0].found


def test_a_stop_word_that_ends_what_is_learned_must_be_one_token():
    asked = Wanted("mine", stop_words=("<|stop|>", "<|more|>"), ends=("<|stop|>",))
    found = of(check(load_tiny(), 512, wanted=asked), "stop word")
    assert [finding.level for finding in found] == ["error", "warning"]
    assert "resize_vocab" in found[0].todo
    assert token_id(load_tiny(), "!") is not None
    assert token_id(load_tiny(), "<|stop|>") is None


def test_an_end_of_ordinary_text_is_told_with_its_consequence():
    spelt = check(load_tiny(), 512, wanted=Wanted("mine", stop_words=("\n",), ends=("\n",)))
    (finding,) = of(spelt, "stop word")
    assert finding.level == "warning"
    assert r"'\n', which ends what is learned, is ordinary text" in finding.found
    beside = check(load_tiny(), 512, wanted=Wanted("mine", stop_words=("!",)))
    assert levels(beside)["stop word"] == "ok"


def test_a_stop_of_the_models_files_is_told_with_its_file(tmp_path):
    tiny_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": load_tiny().id_of("#")}))
    report = check(tokenizers.load(tmp_path), 512, wanted=CHATML)
    (finding,) = report.warnings
    assert finding.found.startswith(f"# (id {load_tiny().id_of('#')}) ends answers too, by eos_to")
    assert "config.json, and is ordinary text; the tokenizer's eos is <|im_end|>" in finding.found
    assert "cut off" in finding.consequence
    assert "correct eos_token_id in config.json; id of eos: 2" in finding.todo
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 0]}))
    tiny = tokenizers.load(tmp_path)
    report = check(tiny, 512, wanted=CHATML._replace(stop_words=("<|im_end|>", "<|endoftext|>")))
    assert report.warnings == ()
    assert [f.found for f in of(report, "stop")] == [
        "<|endoftext|> (id 0) ends answers too, by eos_token_id of generation_config.json"
    ]
    assert len(of(report, "stop word")) == 1


def test_a_template_whose_answers_end_in_nothing_is_refused_unless_it_says_so():
    asked = Wanted("mine", endless=True)
    (finding,) = check(load_tiny(), 512, wanted=asked).errors
    assert finding.what == "end"
    assert "open_ended" in finding.todo
    meant = check(load_tiny(), 512, wanted=asked._replace(open_ended=True))
    assert of(meant, "end") == list(meant.warnings)
    assert of(check(load_tiny(), 512, wanted=CHATML), "end") == []


def test_a_control_string_that_splits_is_told_with_its_consequence_and_refuses_nothing():
    report = check(load_tiny(), 512, wanted=CHATML._replace(marks=("<|user|>", "<|im_start|>")))
    assert report.errors == ()
    (finding,) = report.warnings
    assert "<|user|> (" in finding.found
    assert "<|im_start|>" not in finding.found
    assert "ordinary text" in finding.line()


def test_the_report_is_lines_and_json():
    report = check(load_tiny(), 512, wanted=CHATML)
    text = "\n".join(report.lines())
    for word in ("468 tokens", "512 rows", "<|im_end|> (id 2)", "two sentences", "mask"):
        assert word in text
    record = json.loads(json.dumps(report.as_dict()))
    assert record["findings"][1] == {
        "what": "eos", "level": "ok", "found": "<|im_end|> (id 2)", "consequence": "", "todo": "",
    }  # fmt: skip


def test_other_loaders_are_compared(tmp_path):
    tiny_tokenizer(tmp_path)
    tokenizer = tokenizers.load(tmp_path)
    assert [(f.what, f.level) for f in comparisons(tokenizer)] == [("AutoTokenizer", "ok")]
    changed: Ours = tokenizer._replace(backend=Tokenizer.from_str(tokenizer.backend.to_str()))
    changed.backend.add_tokens([AddedToken("world")])
    found = comparisons(changed)
    assert (found[0].what, found[0].level) == ("transformers", "error")
    (tmp_path / "config.json").write_text('{"model_type": "qwen2", "vocab_size": 512}')
    assert comparisons(tokenizer)[0].level == "note"


@pytest.mark.parametrize("name", NAMES)
def test_real_tokenizers_are_sound_with_a_row_for_every_id(name):
    tokenizer = real(name)
    rows = 1 + max(tokenizer.backend.get_vocab(with_added_tokens=True).values())
    assert check(tokenizer, rows).errors == ()
    assert check(tokenizer, rows - 1).findings != check(tokenizer, rows).findings


def test_words_are_wrapped_to_the_width_and_commands_are_not():
    long = Finding("pad", "warning", "none " * 20, "because " * 20, f"tunesmith {'x' * 90}")
    report = Report("d", 1, 1, (long, Finding("named", "ok", "short")), None)
    lines = report.lines(80)
    assert max(len(line) for line in lines if "xxx" not in line) <= 80
    assert sum("xxx" in line for line in lines) == 1
    assert len({len(line) - len(line.lstrip()) for line in lines[2:-1]}) == 1
    assert len(report.lines()) == 5

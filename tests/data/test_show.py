"""What is shown is what the store holds: the same ids, the same trained flags, the same skips."""

import gzip
import json

import pytest

from tiny_tokenizer import load_tiny
from tunesmith.data import show as module
from tunesmith.data.prepare import prepare
from tunesmith.data.show import show
from tunesmith.errors import DataError
from tunesmith.templates import choose, registry

TINY = load_tiny()
JINJA = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def row(*words, system=None, **last):
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(words)]
    messages[-1].update(last)
    first = [{"role": "system", "content": system}] if system else []
    return {"messages": [*first, *messages]}


ROWS = [
    row("ask", "say"),
    row("ask 你好 🙂", "say\n\n", system="You are Ada."),
    row("one", "first", "two", "second", "three", "third", system="S"),
    row("one", "first " * 20, "two", "<think>\nhm\n</think>\n\nsecond", "three", "third"),
    row("long " * 60, "say"),
    row("one " * 9, "first", "long " * 60, "say"),
    row("text of <|im_end|> and <think>", "with <|im_start|> inside"),
    row("ask", "never " * 80),
    row("one", "first", "two", "second", train=False),
    row("ask", "say", "no answer"),
    row("ask", "thought", reasoning_content="because"),
]


def write(folder, found=ROWS, name="chats.jsonl"):
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in found)
    (folder / name).write_text(text, encoding="utf8")
    return {"file_name": str(folder / name), "formatting": "openai"}


def keys(folder, *entries, template="chatml", tokenizer=TINY, **options):
    entries = entries or (write(folder),)
    renderer = choose(template, tokenizer)
    common = {"renderer": renderer, "tokenizer": tokenizer, "cutoff_len": 2048}
    return {"dataset": entries, "dataset_dir": folder, **common, **options}


def equal(asked, **how):
    """Everything that is shown, after it has been held against the store."""
    found = show(**asked, count=1000, **how)
    stored = {}
    for example in (prepared := prepare(**asked, whole=True)).train:
        stored.setdefault(example.origin, []).append(example)
    skipped = {
        skip.origin: skip for skips in prepared.ledger.skips().values() for skip in skips.first
    }
    assert len(found.rows) == len(stored) + len(skipped)
    for one in found.rows:
        assert one.skip == skipped.get(one.origin)
        if one.skip is not None:
            continue
        for text, example in zip(one.texts, stored[one.origin], strict=True):
            kept = [token for token in text.tokens if not token.cut]
            assert [token.id for token in kept] == example.ids.tolist()
            assert [token.trained for token in kept] == example.trained.tolist()
            assert text.num_kept == len(example.ids)
    return found


@pytest.mark.parametrize("truncation", ["keep_end", "keep_start", "drop", "error"])
@pytest.mark.parametrize(
    "template", [None, "chatml", "llama2", "llama3", "mistral", "qwen3", "deepseekr1", "alpaca"]
)
def test_ids_and_flags_are_those_of_the_store(tmp_path, template, truncation):
    tokenizer = TINY if template else TINY._replace(chat_template=JINJA)
    asked = keys(tmp_path, template=template, tokenizer=tokenizer, truncation=truncation)
    reasons = set()
    for cutoff_len in (2048, 90, 50):
        found = equal({**asked, "cutoff_len": cutoff_len})
        reasons |= {one.skip.reason for one in found.rows if one.skip}
    assert "no answer at the end" in reasons
    assert {"over_cutoff", "longer than cutoff_len"} & reasons


@pytest.mark.parametrize(
    "options",
    [
        {"mask_history": True},
        {"train_on_prompt": True},
        {"split_special_tokens": False},
        {"max_samples": 4},
        {"mask_history": True, "template": "qwen3"},
        {"train_on_prompt": True, "template": "llama2", "split_special_tokens": False},
    ],
    ids=str,
)
def test_so_they_are_under_every_key_that_changes_them(tmp_path, options):
    for cutoff_len in (2048, 60):
        equal(keys(tmp_path, cutoff_len=cutoff_len, **options))


def test_thoughts_are_shown_in_the_marks_of_the_template(tmp_path):
    foreign = [
        name
        for name in registry.names()
        if (marks := registry.get(name).format.thinking) and marks.open.strip() != "<think>"
    ]
    assert foreign
    rows = [row("ask", "<think>\nhm\n</think>\n\nsay"), ROWS[0]]
    for name in foreign:
        (one, _) = equal(keys(tmp_path, write(tmp_path, rows), template=name)).rows
        shown = "".join(token.text for token in one.texts[0].tokens)
        assert registry.get(name).format.thinking.open.strip() in shown


def test_a_sample_of_a_dataset_is_shown_from_the_sample(tmp_path):
    entry = {**write(tmp_path), "num_samples": 4}
    assert len(equal(keys(tmp_path, entry)).rows) == 4


def test_a_row_of_several_texts_shows_each(tmp_path):
    found = equal(keys(tmp_path, write(tmp_path, ROWS[3:4]), template="qwen3"))
    (one,) = found.rows
    assert len(one.texts) > 1
    learned = ["".join(t.text for t in x.tokens if t.trained) for x in one.texts]
    assert "third<|im_end|>" in learned[-1]
    assert "third" not in learned[0]


def test_skipped_rows_say_why_and_show_what_there_is(tmp_path):
    bad = ['{"messages": [}', row("no answer"), {"other": "columns"}, row("ask", "never " * 80)]
    found = equal(keys(tmp_path, write(tmp_path, [*bad, ROWS[0]]), cutoff_len=60))
    broken, unanswered, other, long, used = found.rows
    assert (broken.skip.reason, broken.texts, broken.raw) == ("not JSON", (), bad[0])
    assert '"no answer"' in unanswered.raw
    assert unanswered.skip.reason == "no answer at the end"
    assert '"columns"' in other.raw
    assert long.skip.reason == "over_cutoff"
    assert {token.kind for token in long.texts[0].tokens} == {"cut"}
    assert used.skip is None


def test_a_row_with_nothing_to_learn_shows_its_text(tmp_path):
    found = show(**keys(tmp_path, write(tmp_path, [row("ask", "say", train=False), ROWS[0]])))
    nothing, used = found.rows
    assert nothing.skip.reason == "no trained token"
    assert "".join(t.text for t in nothing.texts[0].tokens).count("say") == 1
    assert nothing.texts[0].count("trained") == 0
    assert used.texts[0].count("trained") > 0


def test_a_template_that_refuses_a_row_leaves_its_words(tmp_path):
    strict = "{% if messages[0].content == 'bad' %}{{ raise_exception('no') }}{% endif %}" + JINJA
    tokenizer = TINY._replace(chat_template=strict)
    rows = [row("bad", "say"), row("ask", "say")]
    refused, used = equal(
        keys(tmp_path, write(tmp_path, rows), template=None, tokenizer=tokenizer)
    ).rows
    assert refused.skip.reason == "refused by the template"
    assert refused.texts == ()
    assert '"bad"' in refused.raw
    assert used.skip is None


def test_notes_say_what_was_done_to_a_text(tmp_path):
    asked = keys(tmp_path, cutoff_len=60)
    notes = {
        one.origin.row: one.texts[0].notes for one in show(**asked, count=99).rows if one.texts
    }
    assert notes[1] == ()
    assert notes[5] == ("over cutoff_len 60: the start of a question is cut",)
    assert notes[6][0] == "over cutoff_len 60: its 2 oldest messages are cut"
    assert "stays text" in notes[7][0]
    loose = show(**{**asked, "split_special_tokens": False}, places=["chats.jsonl:7"])
    assert "split_special_tokens: false" in loose.rows[0].texts[0].notes[0]


def test_held_out_rows_are_marked(tmp_path):
    one, other = write(tmp_path), write(tmp_path, ROWS[:2], "held.jsonl")
    found = show(**keys(tmp_path, one), eval_dataset=[other], count=4)
    assert [r.held_out for r in found.rows] == [False, False, True, True]


def test_a_named_place_is_shown_alone(tmp_path):
    found = show(**keys(tmp_path), places=["chats.jsonl:3"])
    assert [(r.origin.line, r.origin.row) for r in found.rows] == [(3, 3)]
    packed = gzip.compress((tmp_path / "chats.jsonl").read_bytes())
    (tmp_path / "p.jsonl.gz").write_bytes(packed)
    entry = {"file_name": str(tmp_path / "p.jsonl.gz"), "formatting": "openai"}
    (one,) = show(**keys(tmp_path, entry), places=["p.jsonl.gz:3"]).rows
    assert [t.id for t in one.texts[0].tokens] == [t.id for t in found.rows[0].texts[0].tokens]
    with pytest.raises(DataError, match="begins on this line"):
        show(**keys(tmp_path), places=["chats.jsonl:300"])


def test_only_the_rows_that_are_shown_are_encoded(tmp_path, monkeypatch):
    seen = []
    whole = module.Maker.examples
    monkeypatch.setattr(
        module.Maker,
        "examples",
        lambda maker, said: whole(maker, (seen.append(one.origin.row) or one for one in said)),
    )
    entry = write(tmp_path, ROWS[:1] * 3000)
    found = show(**keys(tmp_path, entry), count=3)
    assert len(seen) == 3
    assert seen == [one.origin.row for one in found.rows]
    assert found.chosen == (f"{tmp_path}/chats.jsonl: 3 of the first 1,000 rows",)
    again = show(**keys(tmp_path, entry, seed=7), count=3)
    assert [r.origin.row for r in again.rows] != seen[:3]


def test_json_tells_every_token(tmp_path):
    told = show(**keys(tmp_path, cutoff_len=60), places=["chats.jsonl:5"]).as_dict()
    told = json.loads(json.dumps(told))
    (text,) = told["rows"][0]["texts"]
    kept = [token for token in text["tokens"] if token["class"] != "cut"]
    assert [token["position"] for token in kept] == list(range(text["num_tokens"]))
    assert {t["position"] for t in text["tokens"] if t["class"] == "cut"} == {None}
    assert text["num_cut"] == len(text["tokens"]) - len(kept) > 0
    assert {t["class"] for t in text["tokens"]} == {"control", "context", "trained", "cut"}
    assert told["rows"][0]["line"] == 5

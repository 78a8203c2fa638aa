"""What every family must hold, against stock transformers: the same ids, the same losses.

A test file of a family calls `check`; those whose processors need torchvision are run by
`tests/whole/test_moving.py` in a process that has it.
"""

import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from tiny_vlm import picture, tiny_vlm
from tunesmith.compute import towers
from tunesmith.compute.attention import isolation
from tunesmith.compute.score import score
from tunesmith.compute.seen import through
from tunesmith.data.batches import lay_out
from tunesmith.data.media.digests import digests
from tunesmith.data.media.families import family_of
from tunesmith.data.media.family import Family, Limits
from tunesmith.data.media.features import Features
from tunesmith.data.media.feed import Feed
from tunesmith.data.media.marks import marked
from tunesmith.data.media.recall import Recall, entry_of
from tunesmith.data.media.render import Seeing
from tunesmith.data.tokenize import encode, encode_prompt
from tunesmith.export import read_transformers
from tunesmith.export.said import Questions
from tunesmith.export.sights import Sight, continued, packed
from tunesmith.infer.batching import Batching
from tunesmith.infer.request import Request
from tunesmith.infer.sampling import Sampling
from tunesmith.models import load, processor, tokenizer
from tunesmith.templates import choose, jinja_to_serve
from tunesmith.types import Conversation, Example, Media, Message, Origin, Tokenizer

LIMITS = Limits()
HAS_TORCHVISION = importlib.util.find_spec("torchvision") is not None
moving = pytest.mark.skipif(
    not HAS_TORCHVISION, reason="needs torchvision; run by tests/whole/test_moving.py"
)


class Seen(NamedTuple):
    """A tiny model of a family and what belongs to it."""

    directory: Path
    model: object
    checked: Tokenizer
    family: Family


def made(tmp_path: Path, kind: str, limits: Limits = LIMITS) -> Seen:
    """A tiny model of a kind."""
    directory = tiny_vlm(tmp_path, kind)
    model = load.load_model(directory, dtype=torch.float32)
    checked = tokenizer.load(directory)
    family = family_of(processor.load(directory), model.config, checked.backend, limits)
    return Seen(directory, model, checked, family)


def media_of(folder: Path, family: Family) -> list[Media]:
    """Some of each kind that the family takes, of several shapes."""
    found = []
    if "image" in family.slots:
        sizes = [(40, 30), (60, 30), (64, 64)]
        paths = [picture(folder / f"{i}.png", size, seed=i) for i, size in enumerate(sizes)]
        found += [Media("image", str(path)) for path in paths]
    if "video" in family.slots:
        frames = [str(picture(folder / f"f{i}.png", (48, 32), seed=9 + i)) for i in range(4)]
        found.append(Media("video", tuple(frames)))
    if "audio" in family.slots:
        found += [Media("audio", str(sound(folder / f"{n}.wav", n))) for n in (4000, 9000, 1700)]
    return found


def sound(path: Path, samples: int) -> Path:
    """Write noise at 16 kHz."""
    import wave

    drawn = np.random.default_rng(samples).integers(-9000, 9000, samples, dtype=np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(drawn.tobytes())
    return path


def rows_of(family: Family, media: list[Media]) -> list[Conversation]:
    """Rows with one medium, with two, and with none."""
    one = family.config.model_type == "paligemma"

    def row(*chosen: Media) -> Conversation:
        asked = "".join(f"<{medium.kind}>" for medium in chosen) + "What is it?"
        turns = (Message("user", asked), Message("assistant", f"Number {len(chosen)}."))
        return Conversation(turns, media=chosen)

    found = [row(medium) for medium in media]
    if not one:
        both = media[:1] if family.config.model_type == "smolvlm" else [media[0], media[-1]]
        found += [row(*both), row()]  # the processor of smolvlm loses a picture beside a video
    return found


def check(tmp_path: Path, kind: str) -> Seen:
    """A family, held against stock transformers and against what all families promise."""
    seen = made(tmp_path, kind)
    media = media_of(tmp_path, seen.family)
    rows = rows_of(seen.family, media)
    _like_stock(seen, rows)
    _never_learned(seen, rows)
    _answered_alike(seen, rows[:2])
    _features_alike(seen, rows, tmp_path / "features")
    _seen_as_they_are(seen.family, media)
    _opened_elsewhere(seen, rows[0], tmp_path / "written")
    return seen


def _like_stock(seen: Seen, rows: list[Conversation]) -> None:
    directory, model, checked, family = seen
    template = choose("chatml", checked)
    laying = Seeing(template, family)
    encoded = encode([marked(row) for row in rows], laying, checked)
    examples = []
    for row, found in zip(rows, encoded, strict=True):
        assert found.error is None
        media = tuple(row.media[i] for i in found.media)
        assert media == row.media
        examples.append(Example(found.ids, found.trained, Origin("d", "f", 1, 1), media))
    feed = Feed(family, alone=isolation(model) != "varlen")
    batches = lay_out(examples, range(len(examples)), max_tokens=feed.room(10_000))
    assert len(batches) == (len(rows) if feed.alone else 1)
    ours = {}
    with torch.no_grad():
        for batch in batches:
            said = score(model, feed(batch)).logprob_P.split(list(batch.num_trained))
            ours |= {row: part for row, part in zip(batch.rows, said, strict=True)}
    stock = type(model).from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    for number, (row, example) in enumerate(zip(rows, examples, strict=True)):
        text = "".join(span.text for span in template.render(row))
        for kind, slot in family.slots.items():
            text = text.replace(f"<{kind}>", f"{slot.before}{slot.token}{slot.after}")
        theirs = stock_inputs(family, text, row)
        ids = torch.from_numpy(example.ids.astype(np.int64))
        if "input_ids" in theirs:
            assert theirs["input_ids"][0].tolist() == ids.tolist()
        theirs["input_ids"] = ids[None]
        theirs.pop("attention_mask", None)
        theirs.pop("labels", None)
        if family.config.model_type == "paligemma":
            learned = torch.from_numpy(example.trained)[None].long()
            theirs["token_type_ids"] = (learned.cumsum(1) > 0).long()
        with torch.no_grad():
            logits = stock.eval()(**theirs, use_cache=False).logits[0].log_softmax(-1)
        places = torch.from_numpy(np.flatnonzero(example.trained))
        wanted = logits[places - 1, ids[places]]
        torch.testing.assert_close(ours[number], wanted, atol=2e-5, rtol=2e-5)


def kept(seen: Seen, media: list[Media], directory: Path) -> Recall:
    """What the tower makes of each picture alone, on disk and found again."""
    tower = towers.install(seen.model, seen.model.base_model.get_submodule(seen.family.tower))
    known = digests([medium.source for medium in media])
    entries = {}
    for medium in media:
        inputs = seen.family.inputs([medium])
        with torch.no_grad(), tower.watching() as found:
            through(seen.model, inputs)
        entries[known[medium.source]] = entry_of(inputs, found)
    features = Features(directory)
    with features.making():
        features.add(entries.items())

    def again(medium: Media) -> None:
        raise AssertionError("nothing is damaged")

    return Recall(features, known, joined=seen.family.joined, make=again)


@torch.no_grad()
def _features_alike(seen: Seen, rows: list[Conversation], directory: Path) -> None:
    """Rows with pictures get from kept features what they get from their pixels."""
    rows = [row for row in rows if row.media and {one.kind for one in row.media} == {"image"}]
    if not seen.family.tower or not rows:
        return
    laying = Seeing(choose("chatml", seen.checked), seen.family)
    examples = [
        Example(found.ids, found.trained, Origin("d", "f", 1, 1), row.media)
        for row, found in zip(
            rows, encode([marked(row) for row in rows], laying, seen.checked), strict=True
        )
    ]
    recall = kept(seen, [medium for row in rows for medium in row.media], directory)
    alone = isolation(seen.model) != "varlen"
    pixels, found = Feed(seen.family, alone=alone), Feed(seen.family, alone=alone, recall=recall)
    for batch in lay_out(examples, range(len(rows)), max_tokens=found.room(10_000)):
        given = found(batch)
        assert given.seen is not None
        assert given.seen.made
        assert all(not t.numel() for name, t in given.seen.inputs.items() if "pixel" in name)
        ours, theirs = (score(seen.model, one).logprob_P for one in (given, pixels(batch)))
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=2e-5)


def stock_inputs(family: Family, text: str, row: Conversation) -> dict:
    """The processor's own inputs for one row."""
    opened: dict = {}
    for medium in row.media:
        opened.setdefault(medium.kind, []).append(family.open(medium))
    if not opened and family.config.model_type in ("gemma3", "mllama", "qwen2_audio"):
        made = family.processor.tokenizer([text], add_special_tokens=False, return_tensors="pt")
        return {"input_ids": made["input_ids"]}
    if family.config.model_type == "paligemma":
        return dict(family.processor.image_processor(opened["image"], return_tensors="pt"))
    made = family.process(text, opened, [family.look(medium) for medium in row.media])
    found = {key: value for key, value in made.items() if isinstance(value, torch.Tensor)}
    if family.config.model_type == "mllama":  # its processor puts a bos in front of every text
        keys = ("input_ids", "cross_attention_mask")
        found |= {key: found[key][:, 1:] for key in keys if key in found}
    return found


@torch.no_grad()
def _answered_alike(seen: Seen, rows: list[Conversation]) -> None:
    """Greedy answers, token by token, are those of stock `generate`."""
    directory, model, checked, family = seen
    stock = type(model).from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    laying, feed = Seeing(choose("chatml", checked), family), Feed(family)
    batching = Batching(model, checked.backend, stop_ids={checked.id_of("<|im_end|>")})
    for row in rows:
        asked = row._replace(messages=row.messages[:1])
        ids = encode_prompt(marked(asked), laying, checked)
        request = Request(
            tuple(ids),
            Sampling(do_sample=False, max_new_tokens=8),
            seen=feed.prompt(ids, row.media),
        )
        ours = [token.id for delta in batching.submit(request) for token in delta.tokens]
        text = "".join(s.text for s in laying.renderer.render(asked, add_generation_prompt=True))
        for kind, slot in family.slots.items():
            text = text.replace(f"<{kind}>", f"{slot.before}{slot.token}{slot.after}")
        given = stock_inputs(family, text, asked)
        given |= {
            "input_ids": torch.tensor([ids]),
            "attention_mask": torch.ones(1, len(ids)).long(),
        }
        if family.config.model_type == "paligemma":
            given["token_type_ids"] = torch.zeros(1, len(ids)).long()
        theirs = stock.eval().generate(
            **given, max_new_tokens=8, do_sample=False, eos_token_id=checked.id_of("<|im_end|>")
        )
        assert ours == theirs[0, len(ids) :].tolist()
    batching.close()


def _opened_elsewhere(seen: Seen, row: Conversation, place: Path) -> None:
    """What is written beside weights opens in stock transformers, which answers the same."""
    directory, model, checked, family = seen
    if row.media[0].kind != "image" or family.config.model_type in ("paligemma", "mllama"):
        return  # their processors read other texts than those of a chat template
    template, slot = choose("chatml", checked), family.slots["image"]
    tokenizer.save(checked, place, chat_template=jinja_to_serve(template, checked))
    for name, data in processor.files_of(directory).items():
        (place / name).write_bytes(data)
    for path in directory.glob("model*.safetensors"):
        (place / path.name).symlink_to(path)
    (place / "config.json").write_bytes((directory / "config.json").read_bytes())
    pictures = [packed(family.open(medium)) for medium in row.media]
    asked = [{"role": "user", "content": row.messages[0].content}]
    word = f"{slot.before}{slot.token}{slot.after}"
    sight = Sight(asked, pictures, word, family.options("image"))
    there = read_transformers.read(place, Questions([], [], [], [], 4, sights=(sight,)))
    conversation = marked(row._replace(messages=row.messages[:1]))
    ids = encode_prompt(conversation, Seeing(template, family), checked)
    answer, steps = continued(model, ids, Feed(family).prompt(ids, row.media), 4)
    assert there.seen_prompts == [ids]
    assert there.seen_answers == [answer]
    torch.testing.assert_close(there.seen_steps[0], steps, atol=2e-5, rtol=2e-5)


def _never_learned(seen: Seen, rows: list[Conversation]) -> None:
    _, _, checked, family = seen
    laying = Seeing(choose("chatml", checked), family)
    for found in encode([marked(row) for row in rows], laying, checked, train_on_prompt=True):
        assert found.trained.sum() > 3
        assert not np.isin(found.ids[found.trained], sorted(family.token_ids)).any()


def _seen_as_they_are(family: Family, media: list[Media]) -> None:
    """Equal media give equal tensors, other media others."""
    same, other = family.inputs(media[:1]), family.inputs(media[1:2])
    again = family.inputs(media[:1])
    name = next(iter(same))
    assert torch.equal(same[name], again[name])
    assert same[name].shape != other[name].shape or not torch.equal(same[name], other[name])

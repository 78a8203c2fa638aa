"""Rows of a run that an export is held against: their ids, and their prompts as conversations.

Rows with pictures are asked with them, by whoever opens the export and its processor.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tunesmith.data.ledger import Ledger
from tunesmith.data.media.family import Family
from tunesmith.data.reader import Reader
from tunesmith.errors import Error
from tunesmith.export.proof import Probe
from tunesmith.export.sights import PLACE, Look, Sight, packed
from tunesmith.models.classes import sees_or_hears
from tunesmith.models.load import read_config
from tunesmith.types import Conversation, Example, Media, Message, Origin, Role, Seen

if TYPE_CHECKING:
    from tunesmith.cli.answering import Found

_PLAIN = ("user", "assistant")
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant"}
_SIGHTS = 3
_UNSEEN = "what it answers about pictures was not compared"


class Given(NamedTuple):
    """A tuned model and the rows of its run."""

    found: Found
    rows: Any = None
    """Prepared; `None`: the run names none."""
    family: Family | None = None
    """What the model makes of media; `None`: the rows have none."""
    media_dir: Path | None = None
    """Where paths of media begin; `None`: where the entry's own do."""
    trust_remote_code: bool = False
    """Whether code beside the model may run."""

    @property
    def every(self) -> Sequence[Example]:
        """Held-out rows, or rows learned from where none are held out."""
        return () if self.rows is None else self.rows.eval or self.rows.train


def probes(given: Given, count: int) -> list[Probe]:
    """Rows of words.

    Args:
        given: model and rows.
        count: at most so many.

    Returns:
        Ids of training, with the conversation where the row is one of plain words: the chat
        template of an export has to give the prompt that training used.
    """
    chosen = list(islice((example for example in given.every if not example.media), count))
    said = _said(given, {example.origin for example in chosen})
    return [_probe(given.found, example, said.get(example.origin)) for example in chosen]


def sights(given: Given) -> tuple[list[Sight], list[str]]:
    """Questions about pictures of the rows, and what a user must know of them.

    Where the model sees and no row has a picture, one is drawn; a model that reads is not asked.
    """
    found, family = given.found, given.family
    config = read_config(found.directory, trust_remote_code=given.trust_remote_code)
    if not sees_or_hears(config):
        return [], []
    if family is None:
        try:
            family = found.family()
        except Error as error:
            return [], [f"{_UNSEEN}: {error.where}: {error.got}"]
    if "image" not in family.slots:
        return [], [f"{_UNSEEN}: the model takes none, and other media are not compared"]
    if not family.in_place:
        return [], [f"{_UNSEEN}: {family.config.model_type} reads them before all that is said"]
    seeing = (e for e in given.every if e.media and all(one.kind == "image" for one in e.media))
    chosen = list(islice(seeing, _SIGHTS))
    said = _said(given, {example.origin for example in chosen})
    every = [_sight(found, family, said.get(example.origin)) for example in chosen]
    return [sight for sight in every if sight] or [_drawn(family)], []


def look(found: Found) -> Look:
    """How training reads a question about pictures."""

    def read(sight: Sight) -> tuple[list[int], Seen | None]:
        turns, system = sight.messages, None
        if turns[0]["role"] == "system":
            system, turns = turns[0]["content"], turns[1:]
        messages = tuple(Message(_ROLES[turn["role"]], turn["content"]) for turn in turns)
        media = tuple(Media("image", data) for data in sight.files())
        asked = Conversation(messages, system, media=media)
        ids = found.encode(asked)
        return ids, found.see(asked, ids)

    return read


def _sight(found: Found, family: Family, conversation: Conversation | None) -> Sight | None:
    messages = None if conversation is None else _messages(conversation)
    if conversation is None or messages is None:
        return None
    words = [turn | {"content": turn["content"].replace(PLACE, "")} for turn in messages]
    if _spells_control(found, words):
        return None
    count = sum(turn["content"].count(PLACE) for turn in messages)
    pictures = [packed(family.open(medium)) for medium in conversation.media[:count]]
    return Sight(messages, pictures, _word(family), family.options("image")) if count else None


def _drawn(family: Family) -> Sight:
    """A picture that leaves no doubt about rows and columns."""
    from PIL import Image

    width, height = 96, 64
    picture = Image.merge(
        "RGB",
        (
            Image.linear_gradient("L").resize((width, height)),
            Image.linear_gradient("L").rotate(90).resize((width, height)),
            Image.new("L", (width, height), 128),
        ),
    )
    medium = Media("image", base64.b64decode(packed(picture)))
    asked = [{"role": "user", "content": f"{PLACE}\nWhat is it?"}]
    return Sight(asked, [packed(family.open(medium))], _word(family), family.options("image"))


def _word(family: Family) -> str:
    slot = family.slots["image"]
    return f"{slot.before}{slot.token}{slot.after}"


def _said(given: Given, wanted: set[Origin]) -> Mapping[Origin, Conversation]:
    """What those rows say, read once more; the reading ends with the last of them."""
    if not wanted:
        return {}
    names = {origin.dataset for origin in wanted}
    entries = [(entry, held) for entry, held in given.rows.entries if entry.name in names]
    takes = tuple(given.family.slots) if given.family else ()
    reader = Reader(
        Ledger(), given.found.renderer, stop=False, media_dir=given.media_dir, takes=takes
    )
    said: dict[Origin, Conversation] = {}
    for one in reader.said(entries):
        if one.origin in wanted:
            said[one.origin] = one.conversation
        if len(said) == len(wanted):
            break
    return said


def _probe(found: Found, example: Example, conversation: Conversation | None) -> Probe:
    ids = example.ids.tolist()
    messages = None if conversation is None else _messages(conversation)
    if conversation is None or messages is None or _spells_control(found, messages):
        return Probe(ids)
    prompt = found.encode(conversation._replace(messages=conversation.messages[:-1]))
    if ids[: len(prompt)] != prompt:  # a row that was cut to the cutoff begins elsewhere
        return Probe(ids)
    return Probe(ids, messages, len(prompt))


def _spells_control(found: Found, messages: Sequence[Mapping[str, str]]) -> bool:
    """Whether words spell a control token: other programs take them for one in a rendered text."""
    if not found.split_special_tokens:
        return False
    known = found.tokenizer.backend.get_added_tokens_decoder().values()
    added = [token.content for token in known]
    return any(word in message["content"] for word in added for message in messages)


def _messages(conversation: Conversation) -> list[dict[str, str]] | None:
    """Role and content up to the last answer; `None` where they do not say all of it."""
    turns: Sequence[Any] = conversation.messages
    plain = all(turn.role in _PLAIN and not turn.thought and not turn.calls for turn in turns)
    if conversation.tools or not plain or turns[-1].role != "assistant":
        return None
    first = [{"role": "system", "content": conversation.system}] if conversation.system else []
    return [*first, *({"role": turn.role, "content": turn.content} for turn in turns[:-1])]

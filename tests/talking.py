"""An engine for chats that says what it was asked, and does what it is told."""

from tunesmith.errors import ModelError
from tunesmith.infer.hf import Answer
from tunesmith.types import Call


class Echo:
    """Answers with the number of messages and the last one; refuses "too long"."""

    def __init__(self, before=""):
        self.before, self.full = before, False
        self.seen, self.seeds = [], []

    def generate(self, conversation, sampling, on_text=None):
        """See `Engine.generate`."""
        last = conversation.messages[-1].content
        if last == "too long" or self.full:
            raise ModelError("prompt", got="99 tokens")
        if last == "stop me":
            on_text("half an ans")
            raise KeyboardInterrupt
        self.seen.append(conversation)
        self.seeds.append(sampling.seed)
        text = f"{self.before}{len(conversation.messages)}:{last}"
        if on_text:
            for letter in text:
                on_text(letter)
        reason = "length" if last == "long" else "stop"
        return Answer(text, [1, 2], [0], reason, 1.0)


def calling(answer):
    """Reads `call NAME` as a call."""
    _, _, said = answer.text.partition(":")
    head, _, name = said.partition(" ")
    return ("", (Call(name, "{}"),)) if head == "call" else (answer.text, ())

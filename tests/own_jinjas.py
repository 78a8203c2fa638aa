"""Chat templates that models bring, and the strings that LLaMA-Factory takes out of them."""

import json
import lzma
from pathlib import Path

import tokenizers

from tiny_tokenizer import load_tiny
from tunesmith.templates import OwnJinja

GOLDEN = Path(__file__).parent / "golden"
SHARED = Path(__file__).parents[2] / "shared" / "golden" / "parsed_chat_templates.jsonl"
_ENTRIES = json.loads(lzma.decompress((GOLDEN / "parsed_templates.json.xz").read_bytes()))
RECORD = {entry["row"]["tokenizer"]: entry["row"] for entry in _ENTRIES}
"""Name of a tokenizer -> the row of the record."""
_TOKENS = {entry["row"]["tokenizer"]: entry["tokens"] for entry in _ENTRIES}


def own(name: str) -> OwnJinja:
    """The template with the tokens of its tokenizer that it writes, and no others."""
    tokens = _TOKENS[name]
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.add_special_tokens(tokens["special"])
    known = load_tiny()._replace(backend=backend, bos=tokens["bos"], eos=tokens["eos"])
    return OwnJinja(RECORD[name]["chat_template"], known)

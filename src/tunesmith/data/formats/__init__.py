"""Layouts of a row: one function each, from the row's columns to a `Conversation`.

Equal to LLaMA-Factory's converters on every row that those accept, but for what
`tests/golden/convert_deviations.json` lists; a row that those silently empty and drop is a
`RowError` with its reason here. `{}` in a field path counts from 0.
"""

from tunesmith.data.formats.alpaca import alpaca
from tunesmith.data.formats.messages import openai, sharegpt, unread_keys
from tunesmith.data.formats.text import text

__all__ = ["FORMATS", "alpaca", "openai", "sharegpt", "text", "unread_keys"]

FORMATS = {f.__name__: f for f in (alpaca, sharegpt, openai, text)}

"""Layouts of a row: one function each, from the row's columns to a `Conversation`.

What else a row can be (a pair of answers, a label) is in `answers.py`, its pictures, videos and
sounds are in `media.py`. Equal to LLaMA-Factory's converters on every row that those accept, but
for what `tests/golden/convert_deviations.json` lists; a row that those silently empty and drop
is a `RowError` with its reason here. `{}` in a field path counts from 0.
"""

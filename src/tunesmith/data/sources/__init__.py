"""Readers of data files: bytes, text, rows of each type. `data/rows.py` chooses among them."""

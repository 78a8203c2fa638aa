"""The page of `tunesmith data show --html`: its parts, and what puts them together."""

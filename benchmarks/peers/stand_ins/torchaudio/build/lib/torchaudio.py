"""Nothing: see pyproject.toml."""

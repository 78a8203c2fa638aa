"""bitsandbytes, an extra: imported late, quietly, and missed with the command that brings it."""

from __future__ import annotations

import logging
from types import ModuleType

from tunesmith.errors import ConfigError


def library(key: str, *, instead: str) -> ModuleType:
    """The library.

    Args:
        key: of the run file that needs it.
        instead: what to write where it is not wanted.

    Raises:
        ConfigError: it is not installed, or does not load here.
    """
    advice = logging.getLogger("bitsandbytes.backends.cpu.ops")
    level = advice.level
    advice.setLevel(logging.ERROR)  # about a kernel from the hub that is not used here
    try:
        import bitsandbytes
    except ImportError as error:
        missing = getattr(error, "name", None) in (None, "bitsandbytes")
        raise ConfigError(
            key,
            got=None if missing else str(error),
            need="bitsandbytes, which is not installed" if missing else "a bitsandbytes that loads",
            hint=f'pip install "tunesmith[bnb]", or {instead}',
        ) from None
    finally:
        advice.setLevel(level)
    return bitsandbytes

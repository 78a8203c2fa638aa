"""transformers' processor of a model that sees or hears: the files beside its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.errors import ConfigError, ModelError
from tunesmith.models.load import quiet

FILES = (
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "chat_template.json",
)
"""What a processor is made of, beside the tokenizer's files."""


def files_of(directory: Path) -> dict[str, bytes]:
    """The processor's files of a model directory, by name; none of a model that only reads."""
    paths = [Path(directory) / name for name in FILES]
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def load(directory: Path, *, trust_remote_code: bool = False) -> Any:
    """The processor of a model directory.

    Raises:
        ConfigError: it needs a package that is not there.
        ModelError: there is none, or it cannot be loaded.
    """
    from transformers import AutoProcessor

    directory = Path(directory)
    if not any((directory / name).is_file() for name in FILES[:2]):
        raise ModelError(
            str(directory),
            got=f"no {FILES[0]} and no {FILES[1]}",
            need="the files of its processor, for rows with pictures, videos or sounds",
            hint="fetch the model again, with all of its files",
        )
    try:
        with quiet():
            found = AutoProcessor.from_pretrained(
                str(directory), trust_remote_code=trust_remote_code, local_files_only=True
            )
    except ImportError as error:
        raise ConfigError(
            f"{directory}: its processor",
            got=" ".join(str(error).split())[:160],
            need="the packages that read pictures, videos and sounds",
            hint='pip install "tunesmith[vision]"',
        ) from error
    except Exception as error:  # transformers raises whatever it likes
        raise ModelError(
            f"{directory}: its processor",
            got=f"{type(error).__name__}: {' '.join(str(error).split())[:160]}",
            need="processor files that transformers can load",
        ) from error
    if not any(hasattr(found, part) for part in _PARTS):
        raise ModelError(
            f"{directory}: its processor",
            got=type(found).__name__,
            need="a processor of pictures, videos or sounds",
        )
    return found


_PARTS = ("image_processor", "video_processor", "feature_extractor", "audio_processor")

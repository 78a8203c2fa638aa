"""Qwen2-Audio: sounds of up to half a minute, a token for each 40 ms."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from tunesmith.data.media.family import Family, Slot


class QwenAudio(Family):
    """`<|AUDIO|>` becomes as many of itself as the sound is long."""

    types = ("qwen2_audio",)

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """Sounds."""
        processor = self.processor
        around = processor.audio_bos_token, processor.audio_eos_token
        return {"audio": Slot(processor.audio_token, *around)}

    def options(self, kind: str) -> dict[str, Any]:
        """The rate that sounds have been brought to."""
        return {"sampling_rate": self.rate}

"""An export is opened in a process of its own, which shares nothing with the one that wrote it.

`python -m tunesmith.export.reader KIND PATH PLACE` answers the questions that lie in PLACE.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tunesmith.errors import Error, ModelError
from tunesmith.export import said as saying
from tunesmith.export.said import Questions, Said

Kind = Literal["transformers", "gguf", "adapter"]
_ERROR = "error.json"


def apart(kind: Kind, path: Path, questions: Questions) -> Said:
    """What a model says that is opened in a fresh process.

    Args:
        kind: who opens it.
        path: a directory, or a GGUF file.
        questions: what is asked.

    Raises:
        Error: it cannot be opened, or the process ends without an answer.
    """
    with tempfile.TemporaryDirectory(prefix="tunesmith-") as name:
        place = Path(name)
        saying.ask_in(place, questions)
        command = [sys.executable, "-m", "tunesmith.export.reader", kind, str(path), name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if (place / _ERROR).exists():
            facts = json.loads((place / _ERROR).read_text(encoding="utf8"))
            where, hint = facts["where"], facts["try"]
            raise ModelError(where, got=facts["got"], need=facts["need"], hint=hint)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ModelError(
                str(path),
                got=f"the process that opened it ended with {done.returncode}: {last}",
                need=f"a model that {kind} opens",
            )
        return saying.said_in(place)


def read(kind: Kind, path: Path, questions: Questions) -> Said:
    """The same in this process."""
    return _readers()[kind](path, questions)


def _readers() -> dict[str, Callable[[Path, Questions], Said]]:
    from tunesmith.export import read_adapter, read_gguf, read_transformers

    return {
        "transformers": read_transformers.read,
        "gguf": read_gguf.read,
        "adapter": read_adapter.read,
    }


def main(arguments: list[str]) -> int:
    """Answer the questions of another process."""
    kind, path, name = arguments
    place = Path(name)
    try:
        saying.say_in(place, _readers()[kind](Path(path), saying.asked_in(place)))
    except Error as error:
        (place / _ERROR).write_text(json.dumps(error.as_dict()), encoding="utf8")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

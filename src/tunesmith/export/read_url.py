"""A server with OpenAI's interface, asked for what it answers; ids and logits it does not give."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from tunesmith.errors import ModelError
from tunesmith.export.said import Questions, Said

_SECONDS = 120


def read(url: str, questions: Questions, *, key: str = "", name: str = "") -> Said:
    """What a server says: greedy answers as text, with log-probabilities where it gives them.

    Args:
        url: of the server, with or without `/v1`.
        questions: what is asked; of it, the conversations.
        key: for `Authorization`.
        name: of the model; empty: the first that the server lists.

    Raises:
        ModelError: no server there, or one that refuses.
    """
    base = url.rstrip("/").removesuffix("/v1")
    name = name or str(_asked(f"{base}/v1/models", None, key)["data"][0]["id"])
    texts, counts, numbers = [], [], []
    for conversation in questions.prompts:
        body: dict[str, Any] = {
            "model": name,
            "messages": conversation,
            "max_tokens": questions.new_tokens,
            "temperature": 0,
            "top_p": 1,
            "logprobs": True,
        }
        said = _asked(f"{base}/v1/chat/completions", body, key)
        choice = said["choices"][0]
        texts.append(choice["message"].get("content") or "")
        counts.append((said.get("usage") or {}).get("prompt_tokens"))
        listed = (choice.get("logprobs") or {}).get("content") or []
        numbers.append([float(entry["logprob"]) for entry in listed])
    return Said(
        reader=f"the server at {base}, model {name}",
        counts=counts if all(isinstance(count, int) for count in counts) else None,
        texts=texts,
        logprobs=numbers if all(numbers) else None,
    )


def _asked(url: str, body: dict[str, Any] | None, key: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, data=data, headers=headers)
    try:
        with _opener(url).open(request, timeout=_SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        said = error.read(2000).decode(errors="replace")
        hint = "--api-key KEY" if error.code in (401, 403) else ""
        raise ModelError(
            url, got=f"{error.code}: {said}", need="an answer of OpenAI's interface", hint=hint
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(
            url, got=str(error), need="a server with OpenAI's interface", hint="tunesmith serve"
        ) from None


def _opener(url: str) -> urllib.request.OpenerDirector:
    """A proxy of the environment must not see requests to this machine itself."""
    if urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1"):
        return urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener()

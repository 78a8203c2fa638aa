"""New tokens over what is kept: the attention of whole documents, written down in plain numpy."""

import numpy as np
import pytest
import torch

from tunesmith.compute import cached_attention
from tunesmith.compute.cached_attention import Kept, Piece

WIDTH, KEYS, HEADS = 8, 2, 4


def drawn(tokens, heads, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, heads, tokens, WIDTH, generator=generator)


def by_hand(query, key, value, window):
    """(H, N, E), (K, L, E) twice to (N, H, E): the last N tokens over all L."""
    query, key, value = (x[0].double().numpy() for x in (query, key, value))
    count, length = query.shape[1], key.shape[1]
    out = np.zeros((count, HEADS, WIDTH))
    for head in range(HEADS):
        for n in range(count):
            at = length - count + n
            first = 0 if window is None else max(0, at - window + 1)
            k, v = (x[head * KEYS // HEADS, first : at + 1] for x in (key, value))
            scores = k @ query[head, n] / np.sqrt(WIDTH)
            weights = np.exp(scores - scores.max())
            out[n, head] = (weights / weights.sum()) @ v
    return out


@pytest.mark.parametrize("window", [None, 3, 100])
def test_each_request_attends_to_its_own_tokens_alone(window):
    lengths, steps = (7, 300), ((4, 297), (1, 1), (2, 2))
    whole = [
        [drawn(length, heads, 10 * number + heads) for heads in (HEADS, KEYS, KEYS)]
        for number, length in enumerate(lengths)
    ]
    whole[0][2], whole[1][2] = whole[0][2] + 1, whole[1][2] - 1  # values are no keys
    kept, done = [Kept(), Kept()], [0, 0]
    for sizes in steps:
        new = [
            [x[:, :, done[i] : done[i] + sizes[i]] for x in whole[i]] for i in range(len(lengths))
        ]
        query, key, value = (torch.cat([n[j] for n in new], 2) for j in range(3))
        pieces = [Piece(k, size) for k, size in zip(kept, sizes, strict=True)]
        cached_attention.tell(pieces, 0, key, value)
        told = cached_attention.take()
        assert told is not None
        found = cached_attention.attend(query, told, scaling=None, window=window, eager=None)[0]
        done = [d + size for d, size in zip(done, sizes, strict=True)]
        parts = found.split(sizes)
        for i, part in enumerate(parts):
            q, *kv = whole[i]
            wanted = by_hand(
                q[:, :, done[i] - sizes[i] : done[i]], *(x[:, :, : done[i]] for x in kv), window
            )
            np.testing.assert_allclose(part.numpy(), wanted, atol=1e-5)
    assert [k.length for k in kept] == list(lengths)


def test_what_was_told_is_taken_once():
    cached_attention.tell([Piece(Kept(), 1)], 0, drawn(1, KEYS, 0), drawn(1, KEYS, 1))
    assert cached_attention.take() is not None
    assert cached_attention.take() is None
    cached_attention.tell([Piece(Kept(), 1)], 0, drawn(1, KEYS, 0), drawn(1, KEYS, 1))
    cached_attention.forget()
    assert cached_attention.take() is None


def test_what_is_kept_grows_by_what_comes_and_by_half_at_most_of_it_in_vain():
    kept = Kept()
    for tokens in (1, 600, 1, 1, 300):
        key = drawn(tokens, KEYS, tokens)[0]
        held, _ = kept.add(0, key, key)
        assert torch.equal(held[:, -tokens:], key)
    assert kept.length == 903
    assert kept.bytes <= 2 * 2 * KEYS * WIDTH * 4 * 903

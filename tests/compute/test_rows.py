import os
import sys

import pytest
import torch
from torch._dynamo.utils import counters

from tunesmith.compute import pretend, rows
from tunesmith.compute.fused.gated import ACTIVATIONS, _multiply
from tunesmith.compute.fused.gated import _pull as pull_gated
from tunesmith.compute.fused.norm import _pull, _scale
from tunesmith.errors import ConfigError

DTYPES = [torch.float32, torch.bfloat16]


def noise(*shape, dtype, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=draw) * 2).to(dtype)


def norms(count, width, dtype):
    """Every use of the norm's kernels: (kernel, tensors of rows, what rows share)."""
    x, grad = (noise(count, width, dtype=dtype, seed=s) for s in (1, 2))
    rate, weight = noise(count, 1, dtype=torch.float32).abs(), noise(width, dtype=dtype, seed=3)
    out, toward = torch.zeros_like(x), torch.zeros(width)
    yield _scale, [x, rate, out], (weight,)
    for to_x, to_w in ((out, toward), (out, None), (None, toward)):
        yield _pull, [x, rate, grad, to_x], (weight, to_w)


def gates(count, width, dtype):
    for act in ACTIVATIONS:
        gate, up, pull = (noise(count, width, dtype=dtype, seed=s) for s in (1, 2, 3))
        yield _multiply, [gate, up, torch.zeros_like(gate)], (act,)
        yield pull_gated, [gate, up, pull, torch.zeros_like(gate)], (act,)


def done(kernel, given, shared, *, on):
    given, shared = (
        [x.clone() if isinstance(x, torch.Tensor) else x for x in xs] for xs in (given, shared)
    )
    with rows.compiling(on=on):
        kernel(*given, shared=tuple(shared))
    return [x.clone() for x in (*given, *shared) if isinstance(x, torch.Tensor)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_compiled_kernels_compute_what_the_functions_do_whatever_the_sizes(dtype):
    before = counters["stats"]["unique_graphs"]
    for count, width in ((3, 40), (70, 40), (11, 64), (257, 24)):
        for kernel, given, shared in (*norms(count, width, dtype), *gates(count, width, dtype)):
            plain, compiled = (done(kernel, given, shared, on=on) for on in (False, True))
            exact = done(
                kernel, *([x.double() if isinstance(x, torch.Tensor) else x for x in xs]
                          for xs in (given, shared)), on=False,
            )  # fmt: skip
            for ours, theirs, truth in zip(compiled, plain, exact, strict=True):
                size = truth.norm()
                rounding = (
                    2e-6 if ours.dtype == torch.float32 else 2 * (theirs - truth).norm() / size
                )
                assert (ours - truth).norm() <= (rounding + 1e-6) * size
    made = counters["stats"]["unique_graphs"] - before
    assert made <= 4 + 2 * len(ACTIVATIONS), "sizes are not part of a kernel"


def test_a_run_of_many_sizes_keeps_to_the_kernels_it_made():
    x = noise(5, 16, dtype=torch.float32)
    kernel = rows.Kernel(lambda a, out: out.copy_(a + 1))
    with rows.compiling():
        kernel(x, torch.empty_like(x))
        before = counters["stats"]["unique_graphs"]
        for count in range(2, 40):
            x = noise(count, 16, dtype=torch.float32)
            out = torch.empty_like(x)
            kernel(x, out)
            torch.testing.assert_close(out, x + 1)
    assert counters["stats"]["unique_graphs"] == before


def test_where_there_are_no_numbers_nothing_is_compiled():
    before = counters["stats"]["unique_graphs"]
    with rows.compiling(), pretend.pretending():
        x, out = torch.empty(4, 8), torch.empty(4, 8)
        _scale(x, torch.empty(4, 1), out, shared=(torch.empty(8),))
    assert counters["stats"]["unique_graphs"] == before


def test_slices_cover_every_row_once():
    parts = list(rows.slices(100, 2**15, torch.device("cpu")))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(100))
    assert len(parts) == 50
    assert list(rows.slices(100, 2**15, torch.device("cuda"))) == [slice(0, 100)]


def test_a_compiler_that_is_there_is_tried_and_found_good():
    rows.try_compiler("cpu")
    assert rows.missing_compiler("cpu") is None


def test_no_compiler_is_one_clear_error(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError) as caught:
        rows.try_compiler("cpu")
    assert "no-such-compiler is not there" in caught.value.need
    assert "torch_compile: false" in caught.value.hint


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for a compiler")
def test_a_compiler_that_fails_is_refused_with_its_words(tmp_path, monkeypatch):
    """In a process of its own: torch keeps what it found of compilers."""
    bad = tmp_path / "g++"
    bad.write_text("#!/bin/sh\necho 'fatal error: omp.h: No such file' >&2\nexit 1\n")
    bad.chmod(0o755)
    import subprocess

    found = subprocess.run(
        [sys.executable, "-c", "from tunesmith.compute import rows; rows.try_compiler('cpu')"],
        env={**os.environ, "CXX": str(bad), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "ConfigError: torch_compile" in found.stderr
    assert "a compiler that works" in found.stderr

"""Compares libraries that were embedded by other processes, engines or numbers of threads."""

import torch
from safetensors.torch import load_file

BOUND = 1e-5
"""Of the difference of two embeddings of one molecule: sums of fp32 numbers in another order."""

_ROUNDED = ("vectors", "short", "scale", "error")


def assert_same_library(found, expected):
    """Two folders hold the same files, molecule for molecule in one order, and their vectors differ by `BOUND` at most.

    All else is the same byte for byte.
    """
    assert {file.name for file in found.iterdir()} == {file.name for file in expected.iterdir()}
    for file in sorted(expected.iterdir()):
        if file.suffix != ".safetensors":
            assert (found / file.name).read_bytes() == file.read_bytes(), file.name
            continue
        ours, theirs = load_file(found / file.name), load_file(file)
        assert ours.keys() == theirs.keys(), file.name
        for name, wanted in theirs.items():
            if name not in _ROUNDED:
                assert torch.equal(ours[name], wanted), f"{file.name}: {name}"
        torch.testing.assert_close(ours["vectors"], theirs["vectors"], rtol=0, atol=BOUND)

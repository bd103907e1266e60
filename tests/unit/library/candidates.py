"""Keys and unit vectors of made-up candidates."""

import numpy as np

DIM = 12


def key_of(number):
    letters = ""
    for _ in range(14):
        letters, number = chr(65 + number % 26) + letters, number // 26
    return letters


def unit(seed, size=DIM):
    vector = np.random.default_rng(seed).normal(size=size)
    return (vector / np.linalg.norm(vector)).astype(np.float32)

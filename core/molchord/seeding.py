"""All randomness follows from names: seeds and draws that are the same in any process, and no global state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["drawn", "random_state"]


def random_state(*parts: int | str) -> int:
    """Mix numbers and names into one 63-bit seed.

    Example:
        >>> random_state(7, 0, "a") == random_state(7, 0, "a"), random_state(7, 0, "a") == random_state(7, 1, "a")
        (True, False)
    """
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def drawn(keys: Sequence[str], share: float, *parts: int | str) -> NDArray[np.bool_]:
    """Draw a share of molecules; for the same `parts` a larger share holds a smaller one, whatever the order of keys.

    Example:
        >>> keys = ["QNAYBMKLOCPYGJ", "XLYOFNOQVPJJNP", "BSYNRYMUTXBXSQ", "CSCPPACGZOOCGX"]
        >>> half, most = drawn(keys, 0.5, 7, "a"), drawn(keys, 0.75, 7, "a")
        >>> int(half.sum()), int(most.sum()), bool((most >= half).all())
        (2, 3, True)
    """
    order = np.argsort(np.array([random_state(*parts, key) for key in keys], dtype=np.int64), kind="stable")
    out = np.zeros(len(keys), dtype=np.bool_)
    out[order[: round(share * len(keys))]] = True
    return out

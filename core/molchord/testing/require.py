"""What a check reports where a plugin does not behave."""

from __future__ import annotations


def require(condition: bool, message: str) -> None:
    """Fail the running check.

    Raises:
        AssertionError: The condition is false.
    """
    if not condition:
        raise AssertionError(message)

"""Sentences as a page may say them: without paths of the machine, and warnings as advice with a button."""

from __future__ import annotations

import re
from collections.abc import Iterable

from molchord.page.models import AdviceView

__all__ = ["advice", "without_paths"]

_QUOTED = re.compile(r"(['\"`])(?:~|[A-Za-z]:)?[/\\](?:[^'\"`\n]*[/\\])?([^'\"`/\\\n]*)[/\\]?\1")
_BARE = re.compile(r"(?<![\w.:/\\<%^)\]-])(?:~|[A-Za-z]:)?/(?:[^\s'\"`/:;,()]+/)+([^\s'\"`/:;,()]*)")
_CLEAN = re.compile(r",? as `--clean ([a-z0-9_]+)` does")
_UNIT = re.compile(r",? as with `--(?:x|y)-unit [^`]*`")


def without_paths(text: str) -> str:
    """Return a sentence in which of each absolute path the last part is left.

    Example:
        >>> without_paths("file '/home/me/my data/a.csv' cannot be read (/tmp/x/b.csv: 450 cm^-1/K)")
        "file 'a.csv' cannot be read (b.csv: 450 cm^-1/K)"
    """
    return _BARE.sub(r"\1", _QUOTED.sub(r"\1\2\1", text))


def advice(
    messages: Iterable[str], modalities: Iterable[str] = (), clean: dict[str, str] | None = None
) -> list[AdviceView]:
    """Return sentences as advice; one that names a step of clean-up has a button that takes it.

    Args:
        messages: The sentences.
        modalities: Spectra of the sample, of which a sentence may name one.
        clean: Steps that are taken already, by modality.

    Example:
        >>> [one] = advice(["its baseline rises by 40 %; subtract it, as `--clean baseline` does"], ["ir"])
        >>> one.text, one.label, one.patch
        ('its baseline rises by 40 %; subtract it', 'take the step baseline', {'clean': {'ir': 'baseline'}})
    """
    names = list(modalities)
    taken = clean or {}
    out = []
    for message in dict.fromkeys(messages):
        text = without_paths(message)
        step = _CLEAN.search(text)
        meant = [name for name in names if f"'{name}'" in message] or (names if len(names) == 1 else [])
        if step is not None and meant:
            steps = [one for one in taken.get(meant[0], "").split(",") if one]
            patch = {"clean": {meant[0]: ",".join([*steps, step[1]])}}
            said = step[1] not in {one.partition("=")[0] for one in steps}
            out.append(
                AdviceView(
                    text=_CLEAN.sub("", text),
                    label=f"take the step {step[1]}" if said else None,
                    patch=patch if said else None,
                )
            )
        elif _UNIT.search(text):
            out.append(AdviceView(text=_UNIT.sub("", text), label="choose the unit"))
        else:
            out.append(AdviceView(text=text))
    return out

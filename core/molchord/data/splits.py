"""Which molecules train, choose and test: rules that give every molecule the same side in every data set."""

from __future__ import annotations

import hashlib

from molchord.errors import DataError, did_you_mean
from molchord.vocabulary import Split

FOLDS = 5
NO_SPLIT = 255  # code of a molecule that a column leaves out of every split
_SPELLINGS: dict[str, Split] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def hash_fold(key: str) -> int:
    """Return the fold (0 to 9) of a molecule's key14, or of a scaffold.

    Example:
        >>> hash_fold("QNAYBMKLOCPYGJ")
        5
    """
    return int(hashlib.sha256(f"split:{key}".encode()).hexdigest()[:8], 16) % 10


def hash_split(key: str) -> Split:
    """Return the split by the hash rule: fold 0 is test, fold 1 validation, the rest training.

    Example:
        >>> hash_split("QNAYBMKLOCPYGJ")
        'train'
    """
    fold = hash_fold(key)
    return "test" if fold == 0 else "val" if fold == 1 else "train"


def fold_split(key: str, number: int) -> Split:
    """Return the split in one fold of a five-fold cross-validation: every molecule is tested in exactly one of them.

    Of the ten folds of the hash rule, 2 * number and 2 * number + 1 are test, the next one is validation.

    Example:
        >>> [fold_split("QNAYBMKLOCPYGJ", number) for number in range(FOLDS)]
        ['train', 'train', 'test', 'train', 'train']
    """
    fold = hash_fold(key)
    return "test" if fold // 2 == number else "val" if fold == (2 * number + 2) % 10 else "train"


def share_split(key: str, shares: tuple[int, int, int]) -> Split:
    """Return the split by percentages of training, validation and test; the test molecules of `hash` come first.

    Example:
        >>> share_split("QNAYBMKLOCPYGJ", (70, 15, 15))
        'train'
    """
    number = int(hashlib.sha256(f"split:{key}".encode()).hexdigest()[:8], 16)
    place = 10 * (number % 10) + number // 10 % 10
    _, val, test = shares
    return "test" if place < test else "val" if place < test + val else "train"


def shares_of(rule: str) -> tuple[int, int, int] | None:
    """Read the percentages of a rule such as ``hash:70/15/15``; None where it is not of this form.

    Example:
        >>> shares_of("hash:70/15/15"), shares_of("hash:70/15"), shares_of("hash")
        ((70, 15, 15), None, None)
    """
    texts = rule.removeprefix("hash:").split("/") if rule.startswith("hash:") else []
    if len(texts) != 3 or not all(text.isascii() and text.isdigit() for text in texts):
        return None
    train, val, test = map(int, texts)
    return (train, val, test) if train + val + test == 100 and train else None


def scaffold_split(key14: str, smiles: str) -> Split:
    """Return the split by the hash rule on the Murcko scaffold, so that a scaffold never straddles.

    Molecules without rings have no scaffold in common: their key14 decides.

    Example:
        >>> scaffold_split("A", "CCc1ccccc1") == scaffold_split("B", "c1ccccc1C(=O)O")
        True
    """
    from molchord.chem import scaffold  # RDKit, which opening a data set does without

    return hash_split(scaffold(smiles) or key14)


def named_split(text: str | None) -> Split | None:
    """Read a split from a table's cell; None where the cell is blank, so that the molecule is in no split.

    Raises:
        DataError: Not the name of a split.

    Example:
        >>> named_split("Valid"), named_split("")
        ('val', None)
    """
    word = (text or "").strip().lower()
    if not word:
        return None
    if word not in _SPELLINGS:
        raise DataError(f"split {text!r} is not known; {did_you_mean(word, _SPELLINGS)}")
    return _SPELLINGS[word]


def check_rule(rule: str) -> str | None:
    """Check a split rule and return the name of the column it takes, None for the other rules.

    Raises:
        DataError: Unknown rule.

    Example:
        >>> check_rule("hash"), check_rule("column:fold")
        (None, 'fold')
    """
    kind, colon, column = rule.partition(":")
    if rule in ("hash", "scaffold"):
        return None
    if shares_of(rule) is not None:
        return None
    if kind == "fold" and column in map(str, range(FOLDS)):
        return None
    if kind == "column" and colon and column:
        return column
    raise DataError(
        f"split rule {rule!r} is not known; allowed: 'hash', 'hash:TRAIN/VAL/TEST' in percent, 'scaffold', 'fold:0' to "
        "'fold:4', 'column:NAME'"
    )


def assign(rule: str, key14: str, smiles: str, named: str | None = None) -> Split | None:
    """Return a molecule's split by a rule, as `check_rule` takes it; of "column:NAME" the cell is `named`.

    Raises:
        DataError: Unknown rule, or `named` is not a split.

    Example:
        >>> assign("hash", "QNAYBMKLOCPYGJ", "CC(N)C(=O)O"), assign("column:s", "K", "C", "test")
        ('train', 'test')
    """
    if check_rule(rule) is not None:
        return named_split(named)
    if (shares := shares_of(rule)) is not None:
        return share_split(key14, shares)
    if rule.startswith("fold:"):
        return fold_split(key14, int(rule.removeprefix("fold:")))
    return hash_split(key14) if rule == "hash" else scaffold_split(key14, smiles)

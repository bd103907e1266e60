"""The parameters of AIMNet2, read as plain numbers out of the file that the wheel of Auto3D 2.3.1 brings.

The file is a TorchScript archive: a ZIP file, uncompressed, that holds each tensor as little-endian 32-bit floats in an
entry of its own, with code and a description of objects. Its digest is checked before a byte of it is interpreted, so
that which entry holds what is known beforehand, from the table below; code and description are never looked at.

Source of the network and its parameters: Anstine, Zubatyuk and Isayev, Chem. Sci. 16, 10228 (2025); MIT licence.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["INSTALL", "MEMBERS", "SHA256", "WeightsError", "find", "parse", "read", "verify"]

MEMBERS = 4
SHA256 = "e34e147e3dd67bfe3e5ae8c2a2a097d59ff3a8260d98e42552004f710bb3a68b"
INSTALL = "pip install --no-deps Auto3D==2.3.1"

_FILE = ("models", "aimnet2_wb97m_ens_f.jpt")  # in the package
_FOLDER = "wb97m_gas_ens_f/data"  # in the archive
_SPARE = 1  # floats that a storage may hold beyond its tensor, as those of the shifts do

Shape = tuple[int, ...]

TENSORS: tuple[tuple[str, Shape], ...] = (
    ("rc_s", ()), ("eta_s", ()), ("shifts_s", (16,)), ("rc_v", ()), ("eta_v", ()), ("shifts_v", (16,)),
    ("afv", (64, 256)), ("agh_a", (16, 16, 12)), ("agh_q", (1, 16, 12)),
    ("mlp0.0.weight", (512, 704)), ("mlp0.0.bias", (512,)), ("mlp0.1.weight", (380, 512)), ("mlp0.1.bias", (380,)),
    ("mlp0.2.weight", (258, 380)), ("mlp0.2.bias", (258,)),
    ("mlp1.0.weight", (512, 733)), ("mlp1.0.bias", (512,)), ("mlp1.1.weight", (380, 512)), ("mlp1.1.bias", (380,)),
    ("mlp1.2.weight", (258, 380)), ("mlp1.2.bias", (258,)),
    ("mlp2.0.weight", (512, 733)), ("mlp2.0.bias", (512,)), ("mlp2.1.weight", (380, 512)), ("mlp2.1.bias", (380,)),
    ("mlp2.2.weight", (380, 380)), ("mlp2.2.bias", (380,)), ("mlp2.3.weight", (256, 380)), ("mlp2.3.bias", (256,)),
    ("energy.0.weight", (128, 256)), ("energy.0.bias", (128,)), ("energy.1.weight", (128, 128)),
    ("energy.1.bias", (128,)), ("energy.2.weight", (1, 128)), ("energy.2.bias", (1,)),
    ("shift", (64, 1)), ("rc_coulomb", ()), ("c6ab", (95, 95, 5, 5, 3)), ("r4r2", (95,)), ("rcov", (95,)),
)  # fmt: skip
"""Name and shape of each tensor of a member, in the order of their entries; all are row by row from the first float."""


class WeightsError(ImportError):
    """The file is not the one whose parameters are known, or holds other than it should; names what differs."""

    def __init__(self, message: str) -> None:
        super().__init__(message, name="Auto3D")


def find() -> Path:
    """Return the file of the installed wheel, without importing it.

    Raises:
        ImportError: Auto3D is not installed, or holds no such file, as its version 3 does not.
    """
    spec = find_spec("Auto3D")
    folders = [] if spec is None else [Path(folder) for folder in spec.submodule_search_locations or ()]
    for folder in folders:
        if (path := folder.joinpath(*_FILE)).is_file():
            return path
    lead = f"Auto3D without {'/'.join(_FILE)} is installed" if folders else "Auto3D is not installed"
    raise ImportError(f"{lead}, whose version 2.3.1 brings the parameters of AIMNet2: {INSTALL}", name="Auto3D")


def read(path: Path, members: int = MEMBERS) -> tuple[dict[str, NDArray[np.float32]], ...]:
    """Read the parameters of the first members, after the digest of the file is found to be `SHA256`.

    Raises:
        WeightsError: It is another one, or cannot be read.
    """
    return parse(verify(path), members)


def verify(path: Path) -> bytes:
    """Return the content of the file, whose digest is found to be `SHA256`.

    Raises:
        WeightsError: It is another one, or cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{str(path)!r} cannot be read ({error})") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise WeightsError(
            f"{str(path)!r} has the SHA-256 {digest}, and not {SHA256} as in Auto3D 2.3.1: it is damaged, or of "
            f"another version: {INSTALL.replace('install', 'install --force-reinstall')}"
        )
    return content


def parse(content: bytes, members: int = MEMBERS) -> tuple[dict[str, NDArray[np.float32]], ...]:
    """Return the tensors of the first members of an archive, by the names of `TENSORS`.

    Raises:
        WeightsError: An entry is missing, compressed, or not of the size of its tensor; or it is not an archive.
    """
    if not 1 <= members <= MEMBERS:
        raise WeightsError(f"there are {MEMBERS} members, not {members}")
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            sizes = {info.filename: info for info in archive.infolist()}
            return tuple(
                {
                    name: _tensor(archive, sizes, f"{_FOLDER}/{first + i}", shape)
                    for i, (name, shape) in enumerate(TENSORS)
                }
                for first in range(0, members * len(TENSORS), len(TENSORS))
            )
    except (zipfile.BadZipFile, EOFError, ValueError, RuntimeError, OSError) as error:
        raise WeightsError(f"the archive of parameters is damaged ({error})") from None


def _tensor(
    archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], name: str, shape: Shape
) -> NDArray[np.float32]:
    entry = entries.get(name)
    if entry is None:
        raise WeightsError(f"the archive of parameters lacks the entry {name!r}")
    count = math.prod(shape)
    if entry.compress_type != zipfile.ZIP_STORED or not 4 * count <= entry.file_size <= 4 * (count + _SPARE):
        packed = "" if entry.compress_type == zipfile.ZIP_STORED else ", compressed"
        raise WeightsError(
            f"entry {name!r} of the archive of parameters holds {entry.file_size} bytes{packed}; {4 * count} are "
            "needed, as they are"
        )
    with archive.open(entry) as file:
        content = file.read(4 * count)
    if len(content) != 4 * count:
        raise WeightsError(f"entry {name!r} of the archive of parameters ends after {len(content)} bytes")
    values = np.frombuffer(content, dtype="<f4").reshape(shape).astype(np.float32)
    if not np.isfinite(values).all():
        raise WeightsError(f"entry {name!r} of the archive of parameters holds numbers that are not finite")
    return values

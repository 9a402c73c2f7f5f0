"""Our packages as one archive that travels with a job."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

_EPOCH = (1980, 1, 1, 0, 0, 0)


class CodePackage(NamedTuple):
    """A zip archive, named by the digest of its content."""

    name: str
    content: bytes


@cache
def code_package(root: Path = Path(__file__).parents[4]) -> CodePackage:
    """The sources of ``root / "sumgrad"``, with the distribution's version.

    Equal sources give equal bytes.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, content in _files(root):
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    content = packed.getvalue()
    return CodePackage(f"_ray_pkg_{hashlib.sha256(content).hexdigest()[:40]}.zip", content)


def _files(root: Path) -> Iterator[tuple[str, bytes]]:
    for folder, folders, names in os.walk(root / "sumgrad", followlinks=True):
        folders.sort()
        for path in (Path(folder) / name for name in sorted(names) if name.endswith(".py")):
            yield path.relative_to(root).as_posix(), path.read_bytes()
    # A receipt names the version, which is looked up in the distribution's metadata.
    number = version("sumgrad")
    metadata = f"Metadata-Version: 2.1\nName: sumgrad\nVersion: {number}\n"
    yield f"sumgrad-{number}.dist-info/METADATA", metadata.encode()

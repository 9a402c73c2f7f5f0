"""The manifest, without which a snapshot does not exist: its document and its arrays' checksum.

It is JSON and carries a SHA-256 of its own content. The checksum covers every byte: the same
document with other white space is refused too.
"""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sumgrad.trainer.snapshots import document
from sumgrad.trainer.snapshots.snapshot import SnapshotError

FORMAT = 1
"""Version of the format, raised when an older reader would misread it; the seal never changes."""

MAX_BYTES = 64 * 2**20
"""Bound of a manifest, so that nothing larger is read into memory."""

_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)
_HEAD, _MIDDLE, _TAIL = b'{"sha256":"', b'","manifest":', b"}\n"
_SEAL = len(_HEAD) + hashlib.sha256().digest_size * 2 + len(_MIDDLE)


class File(BaseModel):
    """A file beside the manifest.

    Attributes:
        size: in bytes.
        sha256: of its content, in hexadecimal digits.
    """

    model_config = _STRICT
    size: int = Field(ge=0)
    sha256: str


class Manifest(BaseModel):
    """
    Attributes:
        files: by name.
    """

    model_config = _STRICT
    format: int = FORMAT
    step: int = Field(ge=0)
    files: dict[str, File]
    document: dict[str, Any]


def dump(manifest: Manifest) -> bytes:
    """The content of the file.

    Raises:
        SnapshotError: if the document is not plain data, or the file would be too large.
    """
    files = {name: dict(file) for name, file in manifest.files.items()}
    content = _seal(document.dump(dict(manifest) | {"files": files}).encode())
    if len(content) > MAX_BYTES:
        raise SnapshotError(
            f"The document of the snapshot of step {manifest.step} takes {len(content)} bytes of "
            f"at most {MAX_BYTES}: keep what is long as an array."
        )
    return content


def load(content: bytes) -> Manifest:
    """What ``dump`` was given.

    Raises:
        ValueError: if this is not what ``dump`` wrote.
        SnapshotError: if a version of another format wrote it.
    """
    body = content[_SEAL : -len(_TAIL)]
    if content != _seal(body):
        raise ValueError("its checksum is wrong")
    found = document.load(body.decode())
    if isinstance(found, dict) and found.get("format") != FORMAT:
        raise SnapshotError(
            f"it has the format {found.get('format')!r}, and this version of sumgrad reads format "
            f"{FORMAT}; read it with the version that wrote it"
        )
    try:
        return Manifest.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where or 'it'} is not as it should be: {first['msg']}") from None


def _seal(body: bytes) -> bytes:
    return _HEAD + hashlib.sha256(body).hexdigest().encode() + _MIDDLE + body + _TAIL

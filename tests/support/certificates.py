"""Certificates of the tests' own, made by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


@dataclass(frozen=True)
class Pair:
    certificate: Path
    key: Path


class Authority:
    """A CA in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self.own = self._pair(name)
        _openssl(*_request(self.own.key, name, "-x509"), "-out", str(self.own.certificate))

    def issue(self, name: str, extension: str = _NAMES, days: int = 2) -> Pair:
        pair = self._pair(f"{self._name}-{name}")
        request = pair.key.with_suffix(".csr")
        more = ("-addext", extension) if extension else ()
        _openssl(*_request(pair.key, name, *more), "-out", str(request))
        _openssl(
            *("x509", "-req", "-in", str(request), "-copy_extensions", "copy"),
            *("-CA", str(self.own.certificate), "-CAkey", str(self.own.key)),
            *("-days", str(days), "-out", str(pair.certificate)),
        )
        return pair

    def _pair(self, name: str) -> Pair:
        return Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")


def _request(key: Path, name: str, *more: str) -> list[str]:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    return ["req", *more, *curve, "-nodes", "-keyout", str(key), "-subj", f"/CN={name}"]


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)

"""What decides the bits that a host computes: its parts, and one digest of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PROBED = ("matmul", "exp", "tanh", "log", "sqrt", "sum")
"""Parts that are digests of results, and say nothing to people."""


@dataclass(frozen=True)
class Fingerprint:
    """Equal digests mean the same bits from the same work.

    Attributes:
        digest: SHA-256 over all parts but ``threads``. What threads change in a result, the
            probe's products show; the number alone changes nothing.
        parts: versions and processor features by their names, and a short digest of each
            function of the probe.
    """

    digest: str
    parts: dict[str, str]

    def differences(self, here: Mapping[str, str]) -> str:
        """The parts that another process has otherwise, as a list for people.

        Args:
            here: the parts of that process.
        """
        found = []
        for name in sorted({*self.parts, *here}):
            own, other = self.parts.get(name, "unknown"), here.get(name, "unknown")
            if own != other:
                found.append(name if name in PROBED else f"{name} {own} instead of {other}")
        return ", ".join(found)

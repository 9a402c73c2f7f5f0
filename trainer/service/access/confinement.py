"""Which files and addresses a specification may name: those under the operator's roots."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.snapshots.reader import ARRAYS, MANIFEST
from sumgrad.trainer.spec.allowed_locations import SpecRoots
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.spec.violations import InvalidSpecError, Violation

# Plain characters only: none that a reader could decode, expand or take for a user, the port of
# another host, a query or a second address.
_ADDRESS = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]{1,5})?)"
    r"(?P<path>(/[A-Za-z0-9._=+,~-]+)*)/?"
)
_OF_FILES = ("file", "local")


@dataclass(frozen=True)
class Address:
    """``s3://bucket/folder`` in parts, and what lies below it."""

    scheme: str
    host: str
    path: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Address | None:
        """The address, or None for text that could be read in two ways."""
        found = _ADDRESS.fullmatch(text)
        if found is None or found["scheme"] in _OF_FILES:
            return None
        path = tuple(found["path"].split("/")[1:])
        if {".", ".."} & set(path):
            return None
        return cls(found["scheme"], found["host"], path)

    def contains(self, other: Address) -> bool:
        here = (self.scheme, self.host, self.path)
        return here == (other.scheme, other.host, other.path[: len(self.path)])


@dataclass(frozen=True)
class Confinement:
    """The roots: folders with all their links resolved, and addresses.

    Attributes:
        data: folders of data sets and checkpoints.
        snapshots: folders of snapshots, which are written, and checkpoints.
        addresses: where snapshots and checkpoints may lie too.
    """

    data: tuple[Path, ...] = ()
    snapshots: tuple[Path, ...] = ()
    addresses: tuple[Address, ...] = ()

    @classmethod
    def of(
        cls, data: Iterable[Path], snapshots: Iterable[Path], locations: Iterable[str], state: Path
    ) -> Confinement:
        """The confinement to what the operator has named.

        Args:
            state: the service's folder, which must not overlap with a root.

        Raises:
            UsageError: a root or address cannot be used.
        """
        addresses = []
        for location in locations:
            address = Address.parse(location)
            if address is None:
                raise UsageError(
                    f"--allow-location must be like s3://bucket/folder, got {location!r}; a folder "
                    "of this machine is named with --snapshot-root"
                )
            addresses.append(address)
        return cls(
            tuple(_root("--data-root", root, state) for root in data),
            tuple(_root("--snapshot-root", root, state) for root in snapshots),
            tuple(addresses),
        )

    @property
    def roots(self) -> SpecRoots:
        """The roots as they hold when a path is opened, here or by a run's processes."""
        return SpecRoots.of(map(str, self.data), map(str, self.snapshots))

    def confined(self, spec: RunSpec) -> RunSpec:
        """The specification within the roots.

        Raises:
            InvalidSpecError: it names something outside.
        """
        found = list(self._mistakes(spec))
        if found:
            raise InvalidSpecError(found)
        return spec.within(self.roots)

    def _mistakes(self, spec: RunSpec) -> Iterator[Violation]:
        path = getattr(spec.source, "path", None)
        if path is not None and not _under(path, self.data):
            yield _outside("data.path", path, "--data-root", self.data)
        location = spec.model.start_from
        readable = self.data + self.snapshots
        if location is not None and not self._allows(location, readable):
            yield _outside(
                "model.start_from",
                location,
                "--data-root, --snapshot-root or --allow-location",
                (*readable, *map(_text, self.addresses)),
            )
        location = spec.snapshots.location
        if location is not None and not self._allows(location, self.snapshots):
            yield _outside(
                "snapshots.location",
                location,
                "--snapshot-root or --allow-location",
                (*self.snapshots, *map(_text, self.addresses)),
            )

    def _allows(self, location: str, roots: Sequence[Path]) -> bool:
        # What has either mark may be opened as an address, also where it begins like a path.
        if "://" in location or "::" in location:
            address = Address.parse(location)
            return address is not None and any(a.contains(address) for a in self.addresses)
        return _under(location, roots)


class Unconfined:
    """Lets a specification name everything that this process can read."""

    roots = SpecRoots()

    def confined(self, spec: RunSpec) -> RunSpec:
        return spec


def _root(option: str, root: Path, state: Path) -> Path:
    try:
        found, ours = root.resolve(strict=True), state.resolve()
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{option} {str(root)!r} cannot be used: {error}") from None
    if not found.is_dir():
        raise UsageError(f"{option} {str(root)!r} is not a folder")
    if found.is_relative_to(ours) or ours.is_relative_to(found):
        raise UsageError(
            f"{option} {str(root)!r} and the state folder {str(state)!r} must not lie in each "
            "other: users could reach the weights of others; choose another folder"
        )
    return found


def _under(path: str, roots: Sequence[Path]) -> bool:
    """Whether a path, and everything that is read with it, leads into a root."""
    try:
        found = os.path.realpath(path)
        return (
            Path(path).is_absolute()
            and _inside(found, roots)
            and all(_inside(os.path.realpath(other), roots) for other in _read_with(Path(path)))
        )
    except (OSError, ValueError):
        return False


def _read_with(path: Path) -> Iterator[Path]:
    """The links in a folder, or a snapshot's other file: a reader opens them with the path."""
    if path.is_dir():
        yield from (entry for entry in path.iterdir() if entry.is_symlink())
    else:
        yield from (path.with_suffix(suffix) for suffix in (ARRAYS, MANIFEST))


def _inside(place: str, roots: Sequence[Path]) -> bool:
    return any(Path(place).is_relative_to(root) for root in roots)


def _outside(field: str, got: str, options: str, allowed: Sequence[object]) -> Violation:
    shown = repr(got) if len(got) <= 200 else repr(got[:200]) + "…"
    if allowed:
        return Violation(
            field, f"must lie under {' or '.join(map(str, allowed))} on this service, got {shown}"
        )
    return Violation(
        field,
        f"must be left out, got {shown}: this service reads and writes nothing but its own until "
        f"its operator names a place with {options}",
    )


def _text(address: Address) -> str:
    return f"{address.scheme}://{'/'.join((address.host, *address.path))}"

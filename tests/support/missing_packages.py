"""``sumgrad`` where packages are missing; to be run as a script.

python -m support.missing_packages ray,zmq list
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec


class Missing:
    """A finder, to be asked first, that has nothing of these packages."""

    def __init__(self, packages: list[str]) -> None:
        self._packages = packages

    def find_spec(
        self, name: str, _path: object = None, _target: object = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] in self._packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def main(packages: str, *arguments: str) -> None:
    sys.meta_path.insert(0, Missing(packages.split(",")))
    from sumgrad.trainer.cli.app import main

    sys.argv = ["sumgrad", *arguments]
    main()


if __name__ == "__main__":
    main(*sys.argv[1:])

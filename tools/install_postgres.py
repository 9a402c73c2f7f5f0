"""Have a Postgres server at hand for the tests: Debian's package, installed where root runs this.

Where it is not to be had, it says in one line what to install instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = "postgresql"
MISSING = f"Postgres is missing: install Debian's package `{PACKAGE}`"


def postgres() -> Path | None:
    """The folder of the newest server's programs, or None if there is none."""
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if folders:
        return max(folders, key=lambda folder: int(folder.parent.name))
    found = shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


def install() -> bool:
    """Install the package; the server that it would start is not wanted."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return False
    return _apt("install") or (_apt("update") and _apt("install"))


def _apt(command: str) -> bool:
    packages = [PACKAGE] if command == "install" else []
    # invoke-rc.d starts nothing in runlevel 1.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    found = subprocess.run(
        ["apt-get", "-qq", "--no-install-recommends", "--yes", command, *packages],
        env=environment,
        capture_output=True,
        check=False,
    )
    return found.returncode == 0


def main() -> None:
    if postgres() is None and not (install() and postgres()):
        if os.environ.get("CI"):
            sys.exit(MISSING)
        print(f"{MISSING}; its tests are skipped", file=sys.stderr)


if __name__ == "__main__":
    main()

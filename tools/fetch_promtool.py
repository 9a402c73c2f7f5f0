"""Have Prometheus's own checker at hand for the tests: Debian's, unpacked into .tools.

Nothing is installed on the machine. Where Debian's packages are not to be had, it says in one
line what to install instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent / ".tools"
PROMTOOL = TOOLS / "usr" / "bin" / "promtool"


def promtool() -> str | None:
    """The checker's path, or None if there is none."""
    return str(PROMTOOL) if PROMTOOL.exists() else shutil.which("promtool")


def fetch() -> bool:
    """Download and unpack Debian's prometheus package."""
    if shutil.which("apt-get") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # apt downloads as a user of its own
        if not _run("apt-get", "download", "prometheus", cwd=folder) and os.geteuid() == 0:
            _run("apt-get", "update", cwd=folder)
            _run("apt-get", "download", "prometheus", cwd=folder)
        packages = list(Path(folder).glob("prometheus_*.deb"))
        return bool(packages) and _run("dpkg", "-x", str(packages[0]), str(TOOLS), cwd=folder)


def _run(*command: str, cwd: str) -> bool:
    return subprocess.run(command, cwd=cwd, capture_output=True, check=False).returncode == 0


def main() -> None:
    if promtool() is None and not (fetch() and promtool()):
        message = "promtool is missing: install Debian's package `prometheus`"
        if os.environ.get("CI"):
            sys.exit(message)
        print(f"{message}; its test is skipped", file=sys.stderr)


if __name__ == "__main__":
    main()

"""Print the weights digest of every example, to compare two states of the code to the bit.

python tools/example_digests.py > after.txt
python tools/example_digests.py --command "COMMAND OF ANOTHER CHECKOUT" > before.txt
diff before.txt after.txt
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
RUN_SECONDS = 1800.0

REFUSED = 2
"""The exit code of a mistake in the specification."""


def digest(command: list[str], example: Path) -> str:
    """Train an example with a service of its own; the digest, or why the run is refused."""
    with tempfile.TemporaryDirectory(prefix="digests-") as state:
        done = subprocess.run(
            [*command, "run", str(example), "--state", state, "--json"],
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
    if done.returncode == REFUSED:  # some examples are only to be described
        return done.stderr.strip()
    if done.returncode:
        sys.exit(f"{example.name} failed: {done.stderr.strip()[-500:]}")
    result: str = json.loads(done.stdout)["weights_digest"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("examples", nargs="*", type=Path, default=sorted(EXAMPLES.glob("*.toml")))
    parser.add_argument("--command", default="sumgrad", help="how to start the command line")
    arguments = parser.parse_args()
    for example in arguments.examples:
        print(example.stem, digest(shlex.split(arguments.command), example), flush=True)


if __name__ == "__main__":
    main()

"""Generate the Python code of proto/; with --check, fail if the committed code differs."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
SRC = ROOT / "src"
"""Where ``sumgrad`` is, our one import name; its folders are links to those of the root."""

WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"


def generate(target: Path) -> None:
    """Write the code of every .proto file below ``target / "sumgrad"``, at its path in proto/."""
    sources = sorted(PROTO.rglob("*.proto"))
    with_services = [path for path in sources if "\nservice " in path.read_text()]
    _protoc(sources, f"--python_out={target}", f"--pyi_out={target}")
    _protoc(with_services, f"--grpc_python_out={target}")


def _protoc(sources: list[Path], *options: str) -> None:
    names = [str("sumgrad" / path.relative_to(PROTO)) for path in sources]
    if (
        protoc.main(
            [
                "protoc",
                f"--proto_path=sumgrad={PROTO}",
                f"--proto_path={WELL_KNOWN}",
                *options,
                *names,
            ]
        )
        != 0
    ):
        sys.exit("protoc failed")


def differences() -> list[str]:
    """Committed files that are not what the .proto files make now."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = {path.relative_to(folder): path for path in Path(folder).rglob("*_pb2*")}
        committed = {
            path.relative_to(SRC)
            for package in ("workers", "trainer")
            for path in (SRC / "sumgrad" / package).rglob("*_pb2*")
            if "__pycache__" not in path.parts
        }
        return sorted(
            str(name)
            for name in committed | set(fresh)
            if name not in committed
            or name not in fresh
            or (SRC / name).read_bytes() != fresh[name].read_bytes()
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        generate(SRC)
    elif found := differences():
        sys.exit(f"not what proto/ generates; run `make protos`: {', '.join(found)}")


if __name__ == "__main__":
    main()

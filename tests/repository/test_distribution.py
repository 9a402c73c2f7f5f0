"""What is in the wheel, and that the source distribution makes the same one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from support.repository import ROOT

FOLDERS = ("src", "layers", "workers", "trainer")
FILES = ("pyproject.toml", "README.md", "LICENSE")


def build(kind: str, source: Path, target: Path) -> Path:
    """Build a ``wheel`` or an ``sdist`` of a folder, with the setuptools that is installed."""
    script = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    target.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", script, str(target)], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    [built] = target.iterdir()
    return built


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as a checkout has it."""
    copy = tmp_path_factory.mktemp("source")
    not_committed = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=not_committed)
    for name in FILES:
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return content(build("wheel", source, tmp_path_factory.mktemp("wheel") / "built"))


def test_a_wheel_has_every_file_below_sumgrad_and_nothing_beside(wheel: dict[str, bytes]) -> None:
    sources = {
        str(Path("sumgrad", path.relative_to(ROOT)))
        for folder in ("layers", "workers", "trainer")
        for path in (ROOT / folder).rglob("*.py*")
        if path.suffix in (".py", ".pyi")
    }
    packed = {name for name in wheel if ".dist-info/" not in name}
    assert packed == sources | {"sumgrad/__init__.py", "sumgrad/py.typed"}
    [top_level] = [wheel[name] for name in wheel if name.endswith("top_level.txt")]
    assert top_level == b"sumgrad\n"


@pytest.mark.slow
def test_the_source_distribution_makes_the_same_wheel(
    source: Path, wheel: dict[str, bytes], tmp_path: Path
) -> None:
    with tarfile.open(build("sdist", source, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    [unpacked] = (tmp_path / "unpacked").iterdir()
    assert content(build("wheel", unpacked, tmp_path / "wheel")) == wheel

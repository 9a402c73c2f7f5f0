"""Paths that lead to no readable file."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sumgrad.workers.datasets import (
    DatasetError,
    Idx,
    Npz,
    Source,
)
from sumgrad.workers.datasets.reading import files

from support.data_files import refusal, write_idx, write_npz

HOPELESS = ["", "\0", "a\0b", "no/such/path", "x" * 5000, "\ud800", "/dev/null", "new\nline"]


@pytest.mark.parametrize("path", HOPELESS, ids=lambda path: repr(path)[:20])
@pytest.mark.parametrize("kind", [Idx, Npz])
def test_a_path_that_leads_nowhere_is_refused(kind: Callable[[str], Source], path: str) -> None:
    refusal(kind(path))


def test_a_file_is_no_directory_and_a_directory_no_file(tmp_path: Path) -> None:
    assert "not a directory" in refusal(Idx(write_npz(tmp_path / "f.npz").path), "f.npz")
    assert "not a regular file" in refusal(Npz(tmp_path), tmp_path.name)
    source = write_idx(tmp_path / "d")
    (tmp_path / "d" / "train-labels-idx1-ubyte").unlink()
    (tmp_path / "d" / "train-labels-idx1-ubyte").mkdir()
    assert "not a regular file" in refusal(source, "train-labels")


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(Npz(tmp_path / "pipe"), "pipe")
    source = write_idx(tmp_path / "d")
    path = tmp_path / "d" / "t10k-images-idx3-ubyte"
    path.unlink()
    os.mkfifo(path)
    assert "not a regular file" in refusal(source, "t10k-images")


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for kind in (Idx, Npz):
        refusal(kind(tmp_path / "loop"), "loop")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    write_npz(tmp_path / "f.npz")
    (tmp_path / "f.npz").chmod(0)
    assert "Permission denied" in refusal(Npz(tmp_path / "f.npz"), "f.npz")
    source = write_idx(tmp_path / "d")
    (tmp_path / "d").chmod(0)
    try:
        assert "Permission denied" in refusal(source, "train-images")
    finally:
        (tmp_path / "d").chmod(0o700)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (MemoryError(), "memory"),
        (EOFError(), "EOFError"),
    ],
)
def test_what_the_machine_cannot_do_is_said(error: Exception, said: str) -> None:
    with (
        pytest.raises(DatasetError, match=f"some/file.*{said}"),
        files.reading(Path("some/file")),
    ):
        raise error

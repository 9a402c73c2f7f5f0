"""The code digest: what is computed changes it, how it is explained does not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sumgrad.trainer.record.code_digest import DECIDING, NOT_DECIDING, code_digest

from support.repository import ROOT


def test_every_place_that_is_named_is_there() -> None:
    for name in (*DECIDING, *NOT_DECIDING):
        assert (ROOT / name).is_file() or any((ROOT / name).rglob("*.py")), name


# --- one small source --------------------------------------------------------------------------


def digest_of(folder: Path, source: str, name: str = "layers/affine.py") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return code_digest(folder)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a = 1", "a   =  1  # the first\n\n"),
        ('"""One."""\na = 1', '"""Another."""\na = 1'),
        ('"""One."""\na = 1', "a = 1"),
        ('class A:\n    """One."""', "class A:\n    pass"),
        ('a = 1\n"""One."""', 'a = 1\n"""Another."""'),
        ("raise ValueError('one')", "raise ValueError('another')"),
        ("raise ValueError(f'one {a} is')", "raise ValueError(f'{a} another')"),
        ("raise ValueError(f'{a:.3f}')", "raise ValueError(f'{a:.4g}')"),
        ("raise ValueError('one', b) from None", "raise ValueError('another', b) from None"),
        ("_LOG.info('one %s', a)", "_LOG.info('another: %s', a)"),
    ],
)
def test_another_wording_is_the_same_code(one: str, other: str, tmp_path: Path) -> None:
    assert digest_of(tmp_path, one) == digest_of(tmp_path, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a = 0.5", "a = 0.25"),
        ("a = 1", "a = 1.0"),
        ("a = 1", "a = True"),
        ("a = None", "a = False"),
        ("a = x + y", "a = y + x"),
        ("a = x", "b = x"),
        ("a = 'same'", "a = 'valid'"),
        ("a = {'one': 1}", "a = {'other': 1}"),
        ("return_ = f'one {a}'", "return_ = f'other {a}'"),
        ("np.copyto(a, b, casting='no')", "np.copyto(a, b, casting='unsafe')"),
        ("np.log(a, where='no')", "np.log(a, where='unsafe')"),
        ("a = _LOG.info('one')", "a = _LOG.info('another')"),
        ("raise ValueError('one')", "raise TypeError('one')"),
        ("raise ValueError(f'{a}')", "raise ValueError(f'{b}')"),
        ("raise ValueError(1)", "raise ValueError(2)"),
        ("raise ValueError(b'one')", "raise ValueError(b'other')"),
        ("if a:\n    raise E", "if b:\n    raise E"),
        ("a = 1\nb = 2", "b = 2\na = 1"),
        ("def f(a, b=1): return a", "def f(a, b=2): return a"),
        ("def f(a): return a", "def f(a, /): return a"),
    ],
)
def test_what_may_change_bits_is_other_code(one: str, other: str, tmp_path: Path) -> None:
    assert digest_of(tmp_path, one) != digest_of(tmp_path, other)


@pytest.mark.parametrize("name", ["layers/affine.py", "layers/new.py", "workers/worker.py"])
def test_other_deciding_sources_are_other_code(name: str, tmp_path: Path) -> None:
    before = digest_of(tmp_path, "a = 1")
    assert digest_of(tmp_path, "a = 2", name) != before


@pytest.mark.parametrize(
    "name",
    [
        "layers/affine.txt",
        "layers/derivatives/jacobians.py",
        "workers/serving.py",
        "workers/v1/work_pb2.py",
        "trainer/server/parameter_server.py",
        "trainer/cli/app.py",
    ],
)
def test_sources_that_decide_nothing_do_not_count(name: str, tmp_path: Path) -> None:
    before = digest_of(tmp_path, "a = 1")
    assert digest_of(tmp_path, "a = 2", name) == before


def test_a_source_that_is_renamed_is_other_code(tmp_path: Path) -> None:
    before = digest_of(tmp_path, "a = 1")
    (tmp_path / "layers/affine.py").rename(tmp_path / "layers/other.py")
    assert code_digest(tmp_path) != before


# --- our own sources ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of our sources."""
    root = tmp_path_factory.mktemp("tree")
    for folder in ("layers", "workers", "trainer"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    return root


@contextmanager
def changed(path: Path, old: str, new: str) -> Iterator[None]:
    """A file in which a text is another meanwhile."""
    content = path.read_text()
    assert content.count(old) == 1, f"{old!r} is to be there once"
    path.write_text(content.replace(old, new))
    try:
        yield
    finally:
        path.write_text(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        # An error, a docstring and a comment of a layer.
        ("layers/losses/class_scores.py", "the data has vectors", "there are vectors"),
        ("layers/elu.py", '"""ELU, ', '"""The ELU, '),
        ("layers/elu.py", "        y *= 0.5", "        # A half.\n        y *= 0.5"),
        # Log lines, and how the rest of a run is served.
        ("workers/serving.py", "ready on host", "at work on host"),
        ("workers/serving.py", "SILENCE_SECONDS = 60.0", "SILENCE_SECONDS = 61.0"),
        ("trainer/server/parameter_server.py", "ready on host", "at work on host"),
        ("trainer/server/rounds/membership.py", "was expelled: it", "was sent away: it"),
        ("workers/diagnosis.py", 'return "is NaN"', 'return "is no number"'),
    ],
)
def test_a_reworded_source_is_the_same_code(name: str, old: str, new: str, tree: Path) -> None:
    before = code_digest(tree)
    with changed(tree / name, old, new):
        assert code_digest(tree) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("layers/elu.py", "y *= 0.5", "y *= 0.25"),
        (
            "layers/images/convolution.py",
            'elif self.bias == "position"',
            'elif self.bias == "none"',
        ),
        ("workers/worker.py", "EVALUATION_ROWS = 512", "EVALUATION_ROWS = 256"),
        ("workers/sampling.py", "ORDER_STREAM, epoch", "ORDER_STREAM, epoch + 1"),
        ("workers/summation_tree.py", "self.begin + self.size // 2", "self.begin + self.size // 3"),
        ("workers/datasets/formats/idx.py", "1 / 255", "1 / 256"),
        ("trainer/arithmetic/update_rules/adam.py", "0.999", "0.99"),
        ("trainer/arithmetic/reduction.py", "BLOCK = 1 << 15", "BLOCK = 1 << 14"),
    ],
)
def test_another_constant_is_other_code(name: str, old: str, new: str, tree: Path) -> None:
    before = code_digest(tree)
    with changed(tree / name, old, new):
        assert code_digest(tree) != before
    assert code_digest(tree) == before

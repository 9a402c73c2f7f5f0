"""Specifications in TOML files, and --set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sumgrad.trainer.client import read_spec
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.spec.toml import MAX_BYTES, override, read_toml, write_toml
from sumgrad.trainer.spec.violations import InvalidSpecError

from support.repository import EXAMPLES


def written(folder: Path, content: str | bytes, name: str = "run.toml") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InvalidSpecError) as caught:
        read_toml(path)
    [violation] = caught.value.violations
    return str(violation)


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_every_example_is_a_specification(path: Path) -> None:
    assert parse(read_toml(path)).name == path.stem


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_every_example_is_read_back_as_it_was_written(path: Path, tmp_path: Path) -> None:
    spec = parse(read_toml(path))
    again = written(tmp_path, write_toml(spec.document()))
    assert parse(read_toml(again)) == spec


def test_text_of_every_kind_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    text = "".join(map(chr, [*range(256), 0x2028, 0xFFFF, 0x1F600]))
    content = {"name": text, "data": {"many": ['"', "\\"], "none": [], "nested": {"x": 1e-300}}}
    assert read_toml(written(tmp_path, write_toml(content))) == content


@pytest.mark.parametrize(
    ("written_path", "expected"),
    [
        ("data", "{folder}/data"),
        ("../data/x.npz", "{parent}/data/x.npz"),
        ("./a//b/", "{folder}/a/b"),
        ("/data", "/data"),
        ("", ""),
    ],
)
def test_a_relative_data_path_is_read_from_the_files_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_path: str, expected: str
) -> None:
    folder = tmp_path / "specs"
    folder.mkdir()
    path = written(folder, f'[data]\ntype = "npz"\npath = "{written_path}"')
    monkeypatch.chdir(tmp_path)
    found = read_toml(Path("specs") / path.name)["data"]["path"]
    assert found == expected.format(folder=folder, parent=tmp_path)


@pytest.mark.parametrize(
    ("written_path", "expected"),
    [
        ("w.safetensors", "{folder}/w.safetensors"),
        ("../runs/r-1", "{parent}/runs/r-1"),
        ("/w.safetensors", "/w.safetensors"),
        ("s3://bucket/w.safetensors", "s3://bucket/w.safetensors"),
    ],
)
def test_a_relative_checkpoint_is_read_from_the_files_folder(
    tmp_path: Path, written_path: str, expected: str
) -> None:
    folder = tmp_path / "specs"
    folder.mkdir()
    path = written(folder, f'[model]\nstart_from = "{written_path}"')
    found = read_toml(path)["model"]["start_from"]
    assert found == expected.format(folder=folder, parent=tmp_path)


@pytest.mark.parametrize("name", ["w.safetensors", "a b/1.json", 'qu"ote', "ü=[1]"])
def test_a_checkpoint_that_is_given_beside_the_file_is_read_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    document = {"model": {"start_from": "/other"}, "data": {"path": "stays"}}
    found = read_spec(document, start_from=name)
    assert found == {"model": {"start_from": f"{tmp_path}/{name}"}, "data": {"path": "stays"}}


@pytest.mark.parametrize("content", ["data = 3", "[data]\npath = 3", "seed = 1"])
def test_a_document_without_a_data_path_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    assert read_toml(written(tmp_path, content)) in (
        {"data": 3},
        {"data": {"path": 3}},
        {"seed": 1},
    )


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.toml"
    assert refusal(path) == f"cannot read {path}: No such file or directory; check the path"


def test_a_folder_is_no_specification(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"cannot read {tmp_path}: Is a directory; check the path"


@pytest.mark.parametrize(
    "content",
    ["seed 7", "seed = ", 'name = "a', "[data]\n[data]", "seed = 1\nseed = 2", "{}"],
)
def test_what_is_not_toml_is_said_not_to_be(tmp_path: Path, content: str) -> None:
    path = written(tmp_path, content)
    assert refusal(path).startswith(f"{path} is not TOML: ")


@pytest.mark.parametrize(
    "content", [b"\x00\x01\x02", b"\xff\xfe", b"\x89PNG\r\n\x1a\n", b'name = "\xff"']
)
def test_a_binary_file_is_not_toml(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, content)
    assert refusal(path).startswith(f"{path} is not TOML: ")


def test_a_number_too_long_to_read_is_not_toml(tmp_path: Path) -> None:
    path = written(tmp_path, "seed = " + "1" * 5000)
    assert refusal(path).startswith(f"{path} is not TOML: ")


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.toml"
    path.touch()
    os.truncate(path, 2**40)
    assert refusal(path) == f"{path} has more than {MAX_BYTES} bytes"


def test_a_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    start = "seed = 1\n#"
    assert read_toml(written(tmp_path, start + "x" * (MAX_BYTES - len(start)))) == {"seed": 1}


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "seed = " + "[" * 30_000)
    assert refusal(path) == f"{path} is nested too deeply"


def test_deep_nesting_by_dotted_keys_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "seed." + "a." * 3000 + "a = 1")
    with pytest.raises(InvalidSpecError):
        parse(read_toml(path))


# --- settings -----------------------------------------------------------------------------------


def value_at(document: Any, path: str) -> Any:
    for step in path.split():
        document = document[int(step) if step.isdecimal() else step]
    return document


@pytest.mark.parametrize(
    ("setting", "place", "value"),
    [
        ("name=other", "name", "other"),
        ("name=two words", "name", "two words"),
        ('name="7"', "name", "7"),
        ("seed=11", "seed", 11),
        (" seed = 11", "seed", 11),
        ('data={type = "idx", path = "/x"}', "data path", "/x"),
        ("data.type=npz", "data type", "npz"),
        ("model.layers[0].units=8", "model layers 0 units", 8),
        ("model.layers[1].type=affine_relu", "model layers 1 type", "affine_relu"),
        ('model.layers[1]={type = "relu"}', "model layers 1", {"type": "relu"}),
        ('model.layers=[{type = "relu"}]', "model layers", [{"type": "relu"}]),
        ("model.loss=squared_error", "model loss", "squared_error"),
        ("train.epochs=3", "train epochs", 3),
        ("train.steps=1_000", "train steps", 1000),
        ("train.batch_size=64", "train batch_size", 64),
        ("train.batch_size=full", "train batch_size", "full"),
        ("train.shards=2", "train shards", 2),
        ("train.update.rule=sgd", "train update rule", "sgd"),
        ("train.update.learning_rate=1e-3", "train update learning_rate", 1e-3),
        ("train.early_stopping.patience=3", "train early_stopping patience", 3),
        (
            "train.schedule={type='cosine', floor=0.1}",
            "train schedule",
            {"type": "cosine", "floor": 0.1},
        ),
        ("train.update.momentum=0.5", "train update momentum", 0.5),
        ("workers.count=3", "workers count", 3),
        ("workers.vectors=frames", "workers vectors", "frames"),
        ("name=a=b", "name", "a=b"),
        ("name=", "name", ""),
    ],
)
def test_any_field_can_be_set(
    document: dict[str, Any], setting: str, place: str, value: Any
) -> None:
    override(document, setting)
    found = value_at(document, place)
    assert (found, type(found)) == (value, type(value))


def test_a_table_that_is_not_there_is_made() -> None:
    document: dict[str, Any] = {}
    override(document, "train.update.rule=sgd")
    assert document == {"train": {"update": {"rule": "sgd"}}}


def test_settings_apply_in_order_and_workers_last(document: dict[str, Any]) -> None:
    settings = ("seed=1", "workers.count=5", "seed=2")
    found = read_spec(document, workers=3, settings=settings)
    assert (found["seed"], found["workers"]["count"]) == (2, 3)


def test_the_dictionary_that_a_caller_gives_is_not_changed(document: dict[str, Any]) -> None:
    read_spec(document, workers=3, settings=("model.layers[0].units=99",))
    assert document["workers"]["count"] == 2
    assert document["model"]["layers"][0]["units"] == 16


def test_a_relative_data_path_that_is_set_is_read_from_the_current_folder(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    override(document, "data.path=images/x.npz")
    assert document["data"]["path"] == str(tmp_path / "images" / "x.npz")


def test_a_relative_data_path_in_a_table_that_is_set_is_read_from_the_current_folder(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    override(document, 'data={type = "npz", path = "x.npz"}')
    assert document["data"]["path"] == str(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "setting", ["seed", "", "=7", ".=7", "train.=7", "a b=7", "train..steps=7", "[0]=7", "a[x]=7"]
)
def test_a_setting_of_another_form_is_refused(document: dict[str, Any], setting: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        override(document, setting)
    assert str(caught.value) == (f"--set: {setting!r} is not of the form field=value, like seed=7")


@pytest.mark.parametrize(
    "setting",
    [
        "model.layers[2].units=8",
        "model.layers[2]=8",
        "model.layers[99999999999999999999].units=8",
        "seed.x=1",
        "seed[0]=1",
        "seed.x.y=1",
        "data[0].type=digits",
        "model.layers.units=8",
        "absent[0]=1",
    ],
)
def test_a_setting_for_no_place_is_refused(document: dict[str, Any], setting: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        override(document, setting)
    assert str(caught.value) == (
        f"--set: {setting!r} names a place that the specification does not have"
    )


def test_a_field_that_does_not_exist_is_found_by_the_check(document: dict[str, Any]) -> None:
    override(document, "train.epoch=3")
    with pytest.raises(InvalidSpecError, match=r"^train\.epoch: is not a field"):
        parse(document)


@pytest.mark.parametrize(
    "setting", ["seed=" + "1" * 5000, "model.layers[" + "1" * 5000 + "].units=1"]
)
def test_a_number_too_long_to_read_is_a_mistake(document: dict[str, Any], setting: str) -> None:
    refused = False
    try:
        override(document, setting)
        parse(document)
    except InvalidSpecError:
        refused = True
    assert refused

"""The rules of buf's STANDARD lint that matter here, over the descriptors."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FileDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from sumgrad.trainer.v1 import run_pb2, runner_pb2, service_pb2
from sumgrad.workers.v1 import work_pb2

from support.repository import ROOT

FILES = [module.DESCRIPTOR for module in (run_pb2, runner_pb2, service_pb2, work_pb2)]

PASCAL = re.compile(r"([A-Z][a-z0-9]*)+")
SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def mistakes(file: FileDescriptor) -> Iterator[str]:
    """Every breach of a rule in a file, in words."""
    folder, _, _ = file.name.rpartition("/")
    if file.package != folder.replace("/", ".") or not re.search(r"\.v[0-9]+$", file.package):
        yield f"package {file.package} in folder {folder}"
    for message in file.message_types_by_name.values():
        yield from of_message(message)
    for enum in file.enum_types_by_name.values():
        yield from of_enum(enum)
    for service in file.services_by_name.values():
        yield from of_service(service)


def of_message(message: Descriptor) -> Iterator[str]:
    if not PASCAL.fullmatch(message.name):
        yield f"message {message.full_name}"
    # protobuf makes a oneof by itself of an optional field.
    oneofs = [oneof for oneof in message.oneofs if not oneof.name.startswith("_")]
    for field in [*message.fields, *oneofs]:
        if not SNAKE.fullmatch(field.name):
            yield f"field {field.full_name}"
    for nested in message.nested_types:
        if not nested.GetOptions().map_entry:
            yield from of_message(nested)
    for enum in message.enum_types:
        yield from of_enum(enum)


def of_enum(enum: EnumDescriptor) -> Iterator[str]:
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper()
    if enum.values_by_number[0].name != f"{prefix}_UNSPECIFIED":
        yield f"zero of enum {enum.full_name}"
    for value in enum.values:
        if not re.fullmatch(rf"{prefix}(_[A-Z0-9]+)+", value.name):
            yield f"value {value.name} of {enum.full_name}"


def of_service(service: ServiceDescriptor) -> Iterator[str]:
    if not PASCAL.fullmatch(service.name) or not service.name.endswith("Service"):
        yield f"service {service.full_name}"
    for method in service.methods:
        yield from of_method(method)


def of_method(method: MethodDescriptor) -> Iterator[str]:
    if not PASCAL.fullmatch(method.name):
        yield f"method {method.full_name}"
    if method.input_type.name != f"{method.name}Request":
        yield f"request of {method.full_name}"
    if method.output_type.name != f"{method.name}Response":
        yield f"response of {method.full_name}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_keeps_the_rules(file: FileDescriptor) -> None:
    assert not list(mistakes(file))


def test_every_file_is_looked_at() -> None:
    there = {
        "sumgrad/" + str(path.relative_to(ROOT / "proto"))
        for path in (ROOT / "proto").rglob("*.proto")
    }
    assert {file.name for file in FILES} == there


def test_every_breach_is_found() -> None:
    proto = FileDescriptorProto(name="a/v1/x.proto", package="a.b", syntax="proto3")
    message = proto.message_type.add(name="bad_name")
    message.field.add(name="Upper", number=1, type=5, label=1)
    proto.message_type.add(name="Other")
    enum = proto.enum_type.add(name="RunState")
    enum.value.add(name="RUN_STATE_NONE", number=0)
    enum.value.add(name="QUEUED", number=1)
    service = proto.service.add(name="Trainer")
    service.method.add(name="Get", input_type=".a.b.Other", output_type=".a.b.Other")
    pool = DescriptorPool()
    pool.Add(proto)
    assert list(mistakes(pool.FindFileByName(proto.name))) == [
        "package a.b in folder a/v1",
        "message a.b.bad_name",
        "field a.b.bad_name.Upper",
        "zero of enum a.b.RunState",
        "value QUEUED of a.b.RunState",
        "service a.b.Trainer",
        "request of a.b.Trainer.Get",
        "response of a.b.Trainer.Get",
    ]

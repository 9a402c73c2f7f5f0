"""Requests that nobody means well with, as bytes on the wire.

Every choice comes from one ``random.Random``: a seeded one makes them again, Hypothesis's finds
the smallest, and a fuzzer's follows the code that they reach.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from sumgrad.trainer.spec.messages import to_message
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.v1 import runner_pb2, service_pb2

MANY_BYTES = 200_000
"""What a field is repeated to, so that most messages stay below the cap of gRPC."""

INTEGERS = [
    *(0, 1, 2, 3, 8, 64, 1024, 1025, -1, 2**31 - 1, 2**31, -(2**31)),
    *(2**32 - 1, 2**32, 2**63 - 1, -(2**63), 2**64 - 1),
]
FLOATS = [
    *(0.0, -0.0, 0.1, 0.5, 1.0, -1.0, 5e-324, 1e-39, 1e39, 1.7976931348623157e308),
    *(float("nan"), float("inf"), float("-inf")),
]
TEXTS: list[bytes] = [
    *(
        b"",
        b"a",
        b"\0",
        b"a\0b",
        b"\x1b[2J",
        b"\n",
        b"%s%n",
        b"'; DROP TABLE runs; --",
        b"*",
        b"r-0",
    ),
    # Not UTF-8: a lone surrogate, an overlong NUL, no character at all.
    *(b"\xed\xa0\x80", b"\xc0\x80", b"\xff"),
    *("ж".encode() * 100, "\u202e\u2028".encode(), b"x" * 201, b"x" * 1001, b"x" * 70_000),
    *(b"/", b"..", b"/dev/zero", b"/dev/stdin", b"/proc/self/mem", b"/proc/self/fd/0"),
    *(b"/" + b"x" * 256, b"/" + b"x/" * 3000, b"/dev/zero.safetensors", b"/etc/passwd.json"),
    *(b"file:///dev/zero", b"memory://x", b"nonsense://x", b"://", b"worker-0", b"server"),
    *(b"1-1", b"999999999999999999-999999999999999999", b"created desc", b"created asc"),
]

_SPEC: dict[str, Any] = {
    "name": "small",
    "data": {"type": "noise", "shape": [8, 8, 1], "rows": 64, "classes": 4},
    "model": {
        "layers": [
            {"type": "convolution_relu", "channels": 2, "kernel": [3, 3], "padding": [1, 1]},
            {"type": "max_pool", "size": [2, 2]},
            {"type": "flatten"},
            {"type": "dropout", "rate": 0.5},
            {"type": "affine", "units": 4},
        ],
        "loss": "cross_entropy",
    },
    "train": {
        "epochs": 2,
        "batch_size": 16,
        "update": {"rule": "momentum", "learning_rate": 0.1, "momentum": 0.9},
        "schedule": {"type": "cosine"},
        "early_stopping": {"patience": 2},
    },
    "faults": [{"target": "worker-0", "step": 1, "point": "compute", "action": "raise"}],
}

_TRAINER, _RUNNER = "/sumgrad.trainer.v1.TrainerService/", "/sumgrad.trainer.v1.RunnerService/"
METHODS: dict[str, Message] = {
    _TRAINER + "SubmitRun": service_pb2.SubmitRunRequest(
        spec=to_message(parse(_SPEC)), labels={"team": "a"}, priority=1
    ),
    _TRAINER + "GetRun": service_pb2.GetRunRequest(id="r-00000000"),
    _TRAINER + "ListRuns": service_pb2.ListRunsRequest(page_size=2, labels={"team": "a"}),
    _TRAINER + "CancelRun": service_pb2.CancelRunRequest(id="r-00000000"),
    _TRAINER + "PauseRun": service_pb2.PauseRunRequest(id="r-00000000"),
    _TRAINER + "ResumeRun": service_pb2.ResumeRunRequest(id="r-00000000"),
    _TRAINER + "ScaleRun": service_pb2.ScaleRunRequest(id="r-00000000", workers=2),
    _TRAINER + "DeleteRun": service_pb2.DeleteRunRequest(id="r-00000000"),
    _TRAINER + "WatchRun": service_pb2.WatchRunRequest(id="r-00000000"),
    _TRAINER + "ListEvents": service_pb2.ListEventsRequest(id="r-00000000"),
    _TRAINER + "ListPoints": service_pb2.ListPointsRequest(id="r-00000000", max_points=9),
    _TRAINER + "ValidateSpec": service_pb2.ValidateSpecRequest(spec=to_message(parse(_SPEC))),
    _TRAINER + "StreamLogs": service_pb2.StreamLogsRequest(id="r-00000000", sources=["server"]),
    _TRAINER + "DownloadWeights": service_pb2.DownloadWeightsRequest(id="r-00000000", step=3),
    _TRAINER + "Predict": service_pb2.PredictRequest(
        id="r-00000000", rows=service_pb2.Tensor(shape=[1, 2], values=bytes(8))
    ),
    _RUNNER + "TakeRun": runner_pb2.TakeRunRequest(id="r-00000000", attempt=1, token="x"),
    _RUNNER + "Report": runner_pb2.ReportRequest(id="r-00000000", attempt=1, token="x"),
    _RUNNER + "PutWeights": runner_pb2.PutWeightsRequest(
        file=runner_pb2.AnnouncedWeights(id="r-00000000", attempt=1, token="x", bytes=3)
    ),
}
"""Every method, and a request that is as it should be."""

UPLOADED = {_RUNNER + "PutWeights"}
"""Called with any number of messages; here with one."""

STREAMED = {_TRAINER + name for name in ("WatchRun", "StreamLogs", "DownloadWeights")}
"""Answered with any number of messages."""


def hostile(random: Random, valid: Message) -> bytes:
    """A request that has the form of a method's, or once had."""
    kinds: Sequence[Callable[[Random, Message], bytes]] = (_amended, _amended, _invented, _damaged)
    return random.choice(kinds)(random, valid)


def _amended(random: Random, valid: Message) -> bytes:
    """The valid one with up to three fields set again: in protobuf the last one counts."""
    content = valid.SerializeToString()
    for _ in range(random.randint(0, 3)):
        content += _path(random, valid.DESCRIPTOR)
    return content


def _path(random: Random, descriptor: Descriptor) -> bytes:
    """One field, most often deep inside."""
    if not descriptor.fields:
        return b""
    field = random.choice(descriptor.fields)
    if field.message_type is None or random.random() < 0.1:
        return _field(random, field)
    return _delimited(field.number, _path(random, field.message_type))


def _invented(random: Random, valid: Message) -> bytes:
    return _message(random, valid.DESCRIPTOR)


def _message(random: Random, descriptor: Descriptor) -> bytes:
    content = b""
    for field in descriptor.fields:
        if random.random() < 0.6:
            content += _field(random, field)
    if random.random() < 0.05:
        content += _unknown(random)
    return content


def _field(random: Random, field: FieldDescriptor) -> bytes:
    many = random.choice((0, 1, 2, 5, 1100)) if field.is_repeated and random.random() < 0.2 else 1
    if many > 5:  # of the same
        piece = _once(random, field)
        return piece * min(many, MANY_BYTES // len(piece) + 1)
    return b"".join(_once(random, field) for _ in range(many))


def _once(random: Random, field: FieldDescriptor) -> bytes:
    kind = field.cpp_type
    if random.random() < 0.02:  # of another wire type than the field's
        kind = random.choice((FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_DOUBLE))
    if kind == FieldDescriptor.CPPTYPE_MESSAGE:
        return _delimited(field.number, _message(random, field.message_type))
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return _delimited(field.number, random.choice(TEXTS))
    if kind == FieldDescriptor.CPPTYPE_DOUBLE:
        return _varint(field.number << 3 | 1) + struct.pack("<d", random.choice(FLOATS))
    if kind == FieldDescriptor.CPPTYPE_ENUM and random.random() < 0.8:
        return _varint(field.number << 3) + _varint(random.choice(field.enum_type.values).number)
    return _varint(field.number << 3) + _varint(random.choice(INTEGERS))


def _unknown(random: Random) -> bytes:
    """A field that no message has: a number, a text, or groups in groups."""
    depth = random.choice((1, 99, 101, 10_000))
    return random.choice(
        (
            _varint(9999 << 3) + _varint(2**64 - 1),
            _delimited(9999, b"\xff" * 1000),
            _varint(9999 << 3 | 3) * depth + _varint(9999 << 3 | 4) * depth,
        )
    )


def _damaged(random: Random, valid: Message) -> bytes:
    """The bytes of a valid one, some of them others, more or fewer."""
    content = bytearray(valid.SerializeToString())
    for _ in range(random.randint(1, 8)):
        at = random.randint(0, len(content))
        piece = bytes(random.randint(0, 255) for _ in range(random.randint(0, 4)))
        content[at : at + random.randint(0, 4)] = piece
    return bytes(content[: random.randint(0, len(content))] if random.random() < 0.2 else content)


def nested(depth: int) -> bytes:
    """Messages in messages, more than any message has."""
    content = b""
    for _ in range(depth):
        content = _delimited(1, content)
    return content


def many_layers(count: int) -> bytes:
    """A submission with so many layers."""
    layer = _delimited(1, _delimited(4, b""))
    spec = METHODS[_TRAINER + "SubmitRun"].SerializeToString()
    return spec + _delimited(1, _delimited(4, layer * count))


def _delimited(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Negative numbers as the 64 bits that they are."""
    value &= 2**64 - 1
    content = bytearray()
    while value > 0x7F:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    content.append(value)
    return bytes(content)

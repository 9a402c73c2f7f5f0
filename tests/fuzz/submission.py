"""Fuzzes the decoding and the checks of a submission, guided by coverage (atheris).

    pip install atheris
    python tests/fuzz/submission.py [libFuzzer's options, like -max_total_time=120]

Half of the inputs are the message's bytes as they are; the others are the choices of a generator of
messages that have the form of a submission. What is raised beside InvalidSpecError is a finding.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["sumgrad"]):
    from google.protobuf.message import DecodeError

    from sumgrad.trainer.service.api.refusals import status_of
    from sumgrad.trainer.service.api.request_limits import (
        InvalidRequestError,
        check_labels,
        check_request_id,
        check_spec_size,
    )
    from sumgrad.trainer.spec.fit import check_against_data
    from sumgrad.trainer.spec.messages import spec_of, to_message
    from sumgrad.trainer.spec.violations import InvalidSpecError
    from sumgrad.trainer.v1 import service_pb2

    from support.hostile_messages import METHODS, hostile

VALID = METHODS["/sumgrad.trainer.v1.TrainerService/SubmitRun"]
MOST_REFUSAL_BYTES = 6000


class Choices(Random):
    """Random numbers that are the fuzzer's bytes."""

    def __init__(self, data: atheris.FuzzedDataProvider) -> None:
        super().__init__(0)
        self._data = data

    def random(self) -> float:
        return self.getrandbits(53) / 2**53

    def getrandbits(self, bits: int) -> int:
        size = (bits + 7) // 8
        content = self._data.ConsumeBytes(size).ljust(size, b"\0")
        return int.from_bytes(content, "little") & (2**bits - 1)

    def _randbelow(self, below: int) -> int:
        return self.getrandbits(below.bit_length()) % below


def submit(content: bytes) -> None:
    """What the service does with a submission before it stores it."""
    try:
        request = service_pb2.SubmitRunRequest.FromString(content)
    except DecodeError:
        return
    try:
        check_request_id(request.request_id)
        check_labels(request.labels)
        check_spec_size(request.spec)
        spec = spec_of(request.spec)
        assert spec_of(to_message(spec)) == spec
        check_against_data(spec, workers_limit=8)
    except (InvalidRequestError, InvalidSpecError) as error:
        refusal = status_of(error)
    else:
        return
    if refusal.ByteSize() > MOST_REFUSAL_BYTES:
        raise AssertionError(f"a refusal of {refusal.ByteSize()} bytes does not fit the trailers")


def one_input(data: bytes) -> None:
    if data[:1] < b"\x80":
        submit(data[1:])
    else:
        submit(hostile(Choices(atheris.FuzzedDataProvider(data[1:])), VALID))


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()

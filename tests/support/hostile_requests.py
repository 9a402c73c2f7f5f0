"""Hostile requests: which there are, how they are sent, and what may be answered to them."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import grpc
from grpc_status import rpc_status

from sumgrad.trainer.service.settings import ConnectionLimits

from support.hostile_messages import METHODS, STREAMED, UPLOADED, hostile, many_layers, nested
from support.played_launcher import PlayedLauncher

AT_ONCE = 8


CALL_SECONDS = 20.0


LARGE_EVERY = 500


ANSWERS = frozenset(
    {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
"""What a caller's mistake may be answered with, unless the message is too large for gRPC itself."""


Request = tuple[str, bytes]
"""A method and its message."""


def requests(random: Random, jobs: PlayedLauncher) -> Iterator[Request]:
    """Without end; half of those about a run are about one that is there, from its own runner."""
    methods = list(METHODS)
    for number in itertools.count(1):
        method = random.choice(methods)
        if number % LARGE_EVERY == 0:
            yield method, large(random)
            continue
        valid = type(METHODS[method])()
        valid.CopyFrom(METHODS[method])
        if random.random() < 0.5:
            own = {"id": jobs.last.run_id, "attempt": jobs.last.attempt, "token": jobs.last.token}
            caller = valid.file if method in UPLOADED else valid
            for name in own.keys() & caller.DESCRIPTOR.fields_by_name.keys():
                setattr(caller, name, own[name])
        yield method, hostile(random, valid)


def large(random: Random) -> bytes:
    """Of up to the largest message that gRPC takes, and one byte more."""
    return random.choice(
        (
            lambda: many_layers(500_000),
            lambda: nested(2_000),
            lambda: b"\x0a" * ConnectionLimits.message_bytes,
            lambda: random.randbytes(ConnectionLimits.message_bytes),
            lambda: bytes(ConnectionLimits.message_bytes + 1),
        )
    )()


def answer(channel: grpc.Channel, request: Request) -> grpc.StatusCode:
    """The code of the answer; of a stream, of its first message.

    Raises:
        AssertionError: a caller's mistake should not be answered so, or not without a reason.
    """
    method, content = request
    try:
        call(channel, method, content)
    except grpc.RpcError as error:
        if not _callers_mistake(len(content), error):
            raise AssertionError(_told(request, error)) from error
        return error.code()
    return grpc.StatusCode.OK


def call(channel: grpc.Channel, method: str, content: bytes) -> None:
    """Send a request and wait for the answer, or for its first message. Raises grpc.RpcError."""
    if method in STREAMED:
        stream = channel.unary_stream(method)(content, timeout=CALL_SECONDS)
        next(stream, None)
        stream.cancel()
    elif method in UPLOADED:
        channel.stream_unary(method)(iter([content]), timeout=CALL_SECONDS)
    else:
        channel.unary_unary(method)(content, timeout=CALL_SECONDS)


def _callers_mistake(size: int, error: grpc.RpcError) -> bool:
    """Whether the answer says so, and why."""
    if size > ConnectionLimits.message_bytes:
        return error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    return error.code() in ANSWERS and rpc_status.from_call(error) is not None


def _told(request: Request, error: grpc.RpcError) -> str:
    method, content = request
    shown = content.hex() if len(content) < 2000 else f"{len(content)} bytes"
    return f"{method} {shown}: {error.code()}: {error.details()}"


def bombard(channel: grpc.Channel, source: Iterable[Request]) -> Counter[str]:
    """Send them, AT_ONCE at a time; the answers by code."""
    lock, rest, found = threading.Lock(), iter(source), Counter[str]()

    def send() -> None:
        while True:
            with lock:
                request = next(rest, None)
            if request is None:
                return
            code = answer(channel, request)
            with lock:
                found[code.name] += 1

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for future in [pool.submit(send) for _ in range(AT_ONCE)]:
            future.result()
    return found

"""What waits inside gRPC: how many calls they are, and which give way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from sumgrad.trainer.service.calls import servers
from sumgrad.trainer.service.calls.backlog import (
    MAX_HELD,
    MAX_HOLD_SECONDS,
    REFUSALS_PER_SECOND,
    Backlog,
)
from sumgrad.trainer.service.calls.outstanding import counting_server
from sumgrad.trainer.v1 import run_pb2, service_pb2, service_pb2_grpc

from support.services import Loop, StartService
from support.waiting import eventually

MOST = 10


class Situation:
    """A backlog whose calls, clock and waits are set by the test.

    Attributes:
        outstanding: calls of the server that have no answer.
        looks: how often they were counted.
        waits: seconds of each hold, in order.
        go_on: ends every hold.
    """

    def __init__(self, outstanding: int) -> None:
        self.outstanding = outstanding
        self.now = 0.0
        self.looks = 0
        self.waits: list[float] = []
        self.go_on = asyncio.Event()
        self.backlog = Backlog(MOST, self._count, lambda: self.now, self._sleep)

    def _count(self) -> int:
        self.looks += 1
        return self.outstanding

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await self.go_on.wait()

    async def calls(self, count: int) -> list[asyncio.Task[bool]]:
        """So many come to ask whether they give way; those that can be told are done."""
        tasks = [asyncio.create_task(self._call()) for _ in range(count)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return tasks

    async def _call(self) -> bool:
        self.backlog.take(asyncio.current_task())  # type: ignore[arg-type]
        return await self.backlog.gives_way()

    async def later(self, outstanding: int, tasks: list[asyncio.Task[bool]]) -> list[bool]:
        """The holds are over, and so many calls are outstanding by then."""
        self.now += MAX_HOLD_SECONDS
        self.outstanding = outstanding
        self.go_on.set()
        return await asyncio.gather(*tasks)


def done(tasks: list[asyncio.Task[bool]]) -> list[bool]:
    return [task.result() for task in tasks if task.done()]


def test_nobody_is_held_while_no_more_wait_than_may() -> None:
    async def scene() -> None:
        situation = Situation(MOST + 1)  # one of which asks
        assert done(await situation.calls(1)) == [False]
        assert done(await situation.calls(50)) == [False] * 50
        assert (situation.looks, situation.waits) == (1, [])

    asyncio.run(scene())


def test_as_many_are_held_as_wait_beyond_the_limit_and_the_others_are_answered() -> None:
    async def scene() -> None:
        situation = Situation(MOST + 1 + 3)
        tasks = await situation.calls(8)
        assert done(tasks) == [False] * 5
        assert len(situation.waits) == 3
        assert await situation.later(MOST + 1 + 3, tasks) == [True] * 3 + [False] * 5

    asyncio.run(scene())


def test_calls_that_were_taken_do_not_count_even_if_they_are_cancelled() -> None:
    async def scene() -> None:
        situation = Situation(MOST + 1 + 3)
        held = await situation.calls(3)
        situation.now += 1
        # Three are held and one asks; the rest waits.
        situation.outstanding = 3 + 1 + MOST
        assert done(await situation.calls(1)) == [False]
        for task in held:
            task.cancel()
        await asyncio.wait(held)
        situation.now += 1
        assert done(await situation.calls(1)) == []
        assert len(situation.waits) == 4

    asyncio.run(scene())


def test_a_held_call_is_answered_after_all_when_the_others_are_gone() -> None:
    async def scene() -> None:
        situation = Situation(MOST + 1 + 3)
        tasks = await situation.calls(3)
        assert await situation.later(3 + MOST // 2, tasks) == [False] * 3

    asyncio.run(scene())


def test_a_backlog_that_is_still_half_full_refuses() -> None:
    async def scene() -> None:
        situation = Situation(MOST + 1 + 3)
        tasks = await situation.calls(3)
        assert await situation.later(3 + MOST // 2 + 1, tasks) == [True] * 3

    asyncio.run(scene())


def test_the_more_are_held_the_longer_each_and_those_beyond_all_bounds_not_at_all() -> None:
    async def scene() -> None:
        situation = Situation(1_000_000)
        tasks = await situation.calls(MAX_HELD * MOST + 5)
        assert done(tasks) == [True] * 5
        assert situation.waits == [
            min(held / REFUSALS_PER_SECOND, MAX_HOLD_SECONDS)
            for held in range(1, MAX_HELD * MOST + 1)
        ]
        assert all(await situation.later(1_000_000, tasks))

    asyncio.run(scene())


def test_a_server_counts_calls_that_it_has_not_handed_over(loop: Loop) -> None:
    entered, go_on = threading.Semaphore(0), threading.Event()

    async def answer(request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        entered.release()
        # It holds up the whole event loop, so that no other call is taken.
        assert go_on.wait(30)
        return request

    async def serve() -> tuple[grpc.aio.Server, Callable[[], int], int]:
        counts: list[Callable[[], int]] = []

        def no_interceptors(outstanding: Callable[[], int]) -> list[grpc.aio.ServerInterceptor]:
            counts.append(outstanding)
            return []

        server = counting_server(no_interceptors, [])
        counting_server(lambda _: [], [])  # another one, which is not asked
        methods = {"Answer": grpc.unary_unary_rpc_method_handler(answer)}
        handler = grpc.method_handlers_generic_handler("test", methods)
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, counts[0], port

    server, outstanding, port = loop.run(serve())
    assert outstanding() == 0
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, ThreadPoolExecutor(5) as pool:
        call = channel.unary_unary("/test/Answer")
        answers = [pool.submit(call, b"x", timeout=30) for _ in range(5)]
        try:
            assert entered.acquire(timeout=30)
            assert eventually(lambda: outstanding() == 5)
            assert not entered.acquire(blocking=False)
        finally:
            go_on.set()
        assert [answer.result() for answer in answers] == [b"x"] * 5
        assert eventually(lambda: outstanding() == 0)
    loop.run(server.stop(None))


def test_a_service_with_too_many_that_wait_refuses_clients_and_answers_runners(
    start_service: StartService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = 0

    def crowded(interceptors: Callable[..., Any], options: Any) -> grpc.aio.Server:
        def among_many(outstanding: Callable[[], int]) -> Any:
            return interceptors(lambda: outstanding() + crowd)

        return counting_server(among_many, options)

    monkeypatch.setattr(servers, "counting_server", crowded)
    monkeypatch.setattr("sumgrad.trainer.service.calls.backlog.COUNT_SECONDS", 0.0)
    service = start_service()
    run = service.client.submit(document)
    runner = service.next_runner()
    runner.take()
    crowd = 1_000_000
    stub = service_pb2_grpc.TrainerServiceStub(service.channel)
    for call in (
        lambda: stub.GetRun(service_pb2.GetRunRequest(id=run.id), timeout=30),
        lambda: next(stub.WatchRun(service_pb2.WatchRunRequest(id=run.id), timeout=30)),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        info = error_details_pb2.ErrorInfo()
        assert rpc_status.from_call(caught.value).details[-1].Unpack(info)
        assert (caught.value.code(), info.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "TOO_MANY_CALLS",
        )
    health = health_pb2_grpc.HealthStub(service.channel)
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=30).status
    assert not runner.report(progress=run_pb2.Progress(step=1))
    crowd = 0
    assert run.refresh().progress.step == 1

"""The runner with a Ray and a service that the test plays: it does what its attempt decides.

A played parameter server speaks over a real socket. The clock moves with each call to the service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray

from sumgrad.trainer.runner import processes
from sumgrad.trainer.runner.attempt import RESTARTS, START_SECONDS, STOP_SECONDS
from sumgrad.trainer.runner.runner import SEND_SECONDS, run
from sumgrad.trainer.runner.upstream.outbox import Outbox
from sumgrad.trainer.runner.upstream.protocol import WeightsNotTakenError
from sumgrad.trainer.server.channel.server_endpoint import ServerEndpoint
from sumgrad.trainer.server.rounds.membership import RUNNER
from sumgrad.trainer.server.training_plan import TrainingPlan
from sumgrad.trainer.spec.messages import to_message
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.v1 import run_pb2, runner_pb2

from support.leftovers import nothing_left_behind

SECONDS = 30.0

Report = runner_pb2.RunReport
DEATH = ray.exceptions.ActorDiedError()
REASON = ray.exceptions.ActorDiedError.BASE_ERROR_MSG
FINISHED = Report(finished=run_pb2.Result(steps=9))


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with nothing_left_behind():
        yield


@dataclass(eq=False)
class Ref:
    """What Ray hands out for a value that is, or is not, there yet."""

    value: Any = None
    error: Exception | None = None
    done: bool = True


PENDING = Ref(done=False)


class PlayedServer:
    """A parameter server as the runner sees it.

    Args:
        address: what its address is.
        says: the reports that it sends.
        lives: until the runner ends it; otherwise it dies when it has sent them.
    """

    def __init__(
        self, address: Ref | None = None, says: tuple[Report, ...] = (), lives: bool = True
    ):
        self._address = address
        self._says = says
        self._lives = lives
        self._hub: ServerEndpoint | None = None

    @property
    def address(self) -> Any:
        if self._address is None:
            self._hub = ServerEndpoint(1)
            self._address = Ref(self._hub.address)
        return Method(self._address)

    @property
    def train(self) -> Any:
        # Its reports lie in the runner's socket before it is seen to be dead.
        return Method(PENDING if self._lives else Ref(error=DEATH), self._speak)

    def _speak(self) -> None:
        assert self._hub is not None
        message = self._hub.receive(SECONDS)
        assert message is not None
        for report in self._says:
            self._hub.send(RUNNER, report.SerializeToString())

    def close(self) -> None:
        if self._hub is not None:
            self._hub.close()
            self._hub = None  # the last who holds its memory


@dataclass
class Method:
    """Of an actor."""

    answer: Ref
    call: Callable[[], None] = lambda: None

    def remote(self, *_: object) -> Ref:
        self.call()
        return self.answer


class PlayedWorker:
    """It starts and computes for ever."""

    def __init__(self) -> None:
        self.__ray_ready__ = Method(Ref())
        self.work = Method(Ref(done=False))


@dataclass
class PlayedRay:
    """In the place of the module, and of what starts actors."""

    servers: list[PlayedServer]
    plans: list[TrainingPlan] = field(default_factory=list)
    workers: list[PlayedWorker] = field(default_factory=list)
    killed: list[Any] = field(default_factory=list)
    exceptions = ray.exceptions

    def start_server(self, plan: TrainingPlan) -> PlayedServer:
        self.plans.append(plan)
        return self.servers[len(self.plans) - 1]

    def start_worker(self, _cpus: float) -> PlayedWorker:
        self.workers.append(PlayedWorker())
        return self.workers[-1]

    def wait(self, refs: list[Ref], **_: object) -> tuple[list[Ref], list[Ref]]:
        return [ref for ref in refs if ref.done], [ref for ref in refs if not ref.done]

    def get(self, ref: Ref, timeout: float) -> Any:
        assert ref.done
        if ref.error is not None:
            raise ref.error
        return ref.value

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)


class PlayedUpstream:
    """In the place of the service."""

    attempt = 1

    def __init__(
        self, folder: Path, document: dict[str, Any], shared: bool, **requests: Any
    ) -> None:
        self.log = Outbox(self.attempt)
        self.reports: list[Report] = []
        self.now = 0.0
        self.calls = 0
        self.response = runner_pb2.ReportResponse(workers=2, **requests)
        self._folder, self._document, self._shared = folder, document, shared

    def clock(self) -> float:
        return self.now

    def take(self) -> runner_pb2.TakeRunResponse:
        return runner_pb2.TakeRunResponse(
            spec=to_message(parse(self._document)),
            directory=str(self._folder),
            directory_inode=self._folder.stat().st_ino if self._shared else 0,
            workers=2,
        )

    def add(self, report: Report) -> None:
        self.reports.append(report)

    def send(self) -> None:
        self.calls += 1
        self.now += SEND_SECONDS

    def requests(self) -> runner_pb2.ReportResponse:
        return self.response

    def flush(self) -> None:
        pass

    def put_weights(self, path: Path) -> str:
        raise WeightsNotTakenError("the disk is full")


Play = Callable[..., tuple[PlayedRay, PlayedUpstream]]


@pytest.fixture
def play(
    tmp_path: Path, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Play]:
    """Runs the runner with these servers, one after the other, until it ends."""
    servers: list[PlayedServer] = []

    def run_with(
        *played: PlayedServer, shared: bool = True, **requests: Any
    ) -> tuple[PlayedRay, PlayedUpstream]:
        servers.extend(played)
        fake = PlayedRay(list(played))
        upstream = PlayedUpstream(tmp_path, document, shared, **requests)
        monkeypatch.setattr(processes, "ray", fake)
        monkeypatch.setattr(processes, "start_server", fake.start_server)
        monkeypatch.setattr(processes, "start_worker", fake.start_worker)
        run(upstream, upstream.clock)
        assert [server for server in fake.killed if isinstance(server, PlayedServer)] == list(
            played[: len(fake.plans)]
        )
        assert not set(fake.workers) - set(fake.killed), "a worker outlives its server"
        return fake, upstream

    yield run_with
    for server in servers:
        server.close()


def dies_at_start() -> PlayedServer:
    return PlayedServer(Ref(error=DEATH))


def finishes() -> PlayedServer:
    return PlayedServer(says=(FINISHED,))


def kinds(upstream: PlayedUpstream) -> list[str]:
    found = [report.WhichOneof("kind") for report in upstream.reports]
    return [kind for kind in found if kind is not None]


def test_a_server_that_dies_while_it_starts_is_started_again(play: Play) -> None:
    _, upstream = play(dies_at_start(), dies_at_start(), finishes())
    assert [one.restarted.reason for one in upstream.reports[:-1]] == [REASON, REASON]
    assert upstream.reports[-1] == FINISHED


@pytest.mark.slow
@pytest.mark.parametrize("at_start", [True, False])
def test_servers_that_die_in_a_row_fail_the_run(play: Play, at_start: bool) -> None:
    ray, upstream = play(
        *(dies_at_start() if at_start else PlayedServer(lives=False) for _ in range(RESTARTS))
    )
    assert kinds(upstream) == ["restarted"] * (RESTARTS - 1) + ["failed"]
    message = upstream.reports[-1].failed.message
    assert message == f"the parameter server died {RESTARTS} times in a row: {REASON}"
    assert len(ray.plans) == RESTARTS


@pytest.mark.slow
def test_a_step_in_between_forgives_the_deaths_before_it(play: Play) -> None:
    def dies_after(step: int) -> PlayedServer:
        return PlayedServer(says=(Report(progress=run_pb2.Progress(step=step)),), lives=False)

    # The third and the sixth death would be the end; a step that was done before is no progress.
    play(*[dies_after(step) for step in (1, 1, 2, 2, 3)], finishes())
    _, upstream = play(dies_after(1), dies_after(1), dies_after(1))
    assert upstream.reports[-1].WhichOneof("kind") == "failed"


def test_an_error_in_the_start_of_a_server_fails_the_run_at_once(play: Play) -> None:
    error = ray.exceptions.ActorDiedError()
    error.error_msg, error._actor_init_failed = "remote traceback\nDatasetError: no rows", True
    _, upstream = play(PlayedServer(Ref(error=error)))
    [last] = upstream.reports
    assert last.failed.message == "the parameter server cannot start: DatasetError: no rows"


@pytest.mark.slow
def test_a_server_that_does_not_start_in_time_counts_as_dead(play: Play) -> None:
    _, upstream = play(PlayedServer(PENDING), finishes())
    assert kinds(upstream) == ["restarted", "finished"]
    assert upstream.reports[0].restarted.reason == f"it has not started in {START_SECONDS:.0f} s"
    assert upstream.calls > START_SECONDS / SEND_SECONDS, (
        "the service takes a silent runner for dead"
    )


def test_a_run_is_cancelled_while_its_server_starts(play: Play) -> None:
    _, upstream = play(PlayedServer(PENDING), cancel=True)
    assert kinds(upstream) == ["cancelled"]
    assert upstream.now < START_SECONDS


@pytest.mark.slow
def test_a_server_that_does_not_stop_is_given_up(play: Play) -> None:
    _, upstream = play(PlayedServer(), cancel=True)
    assert kinds(upstream) == ["cancelled"]
    assert STOP_SECONDS < upstream.now < STOP_SECONDS + 3 * SEND_SECONDS


@pytest.mark.slow
def test_a_cancelled_run_whose_server_dies_is_cancelled(play: Play) -> None:
    _, upstream = play(PlayedServer(lives=False), cancel=True)
    assert kinds(upstream) == ["cancelled"]


@pytest.mark.slow
def test_another_server_starts_with_the_workers_that_are_wanted_by_then(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PlayedUpstream, "requests", lambda _: runner_pb2.ReportResponse(workers=1))
    played, _ = play(PlayedServer(lives=False), finishes())
    assert [plan.workers for plan in played.plans] == [2, 1]
    assert len(played.workers) == 3


def test_an_error_of_ray_itself_ends_the_attempt_and_not_the_run(play: Play) -> None:
    broken = PlayedServer(Ref(error=ray.exceptions.RaySystemError("no head")))
    with pytest.raises(ray.exceptions.RaySystemError):
        play(broken)


def test_a_run_whose_weights_the_service_refuses_fails_and_says_where_they_are(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUMGRAD_STATE", str(tmp_path / "state"))
    _, upstream = play(finishes(), shared=False)
    message = upstream.reports[-1].failed.message
    assert message.startswith(
        "the service did not take the weights: the disk is full; they lie on "
    )
    assert message.endswith(f"/scratch/{tmp_path.name}/weights.safetensors")

"""The processes of a run while one parameter server lives, and the socket to that server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ray
import zmq

from sumgrad.trainer.runner.actors import start_server, start_worker
from sumgrad.trainer.runner.assignment import Assignment
from sumgrad.trainer.server.rounds.membership import RUNNER
from sumgrad.trainer.v1 import runner_pb2
from sumgrad.workers.channel import connect

GET_SECONDS = 120.0
"""What Ray says to be there is fetched within this time."""

Actor = Any
Ref = Any
"""A ray.ObjectRef: what an actor is doing."""


@dataclass(frozen=True)
class Ending:
    """How an actor's work has ended.

    Attributes:
        error: None if it ended in good order.
    """

    error: Exception | None

    @property
    def reason(self) -> str:
        """In one line."""
        return "it ended in good order" if self.error is None else ray_reason(self.error)


class Processes:
    """A parameter server, its workers, and what Ray knows of them.

    Args:
        workers: how many the server is to count on.
    """

    def __init__(self, assignment: Assignment, workers: int) -> None:
        self._assignment = assignment
        self._server = start_server(assignment.training_plan(workers))
        self._address: Ref = self._server.address.remote()
        self._socket: zmq.Socket[bytes] | None = None
        self._training: Ref = None
        self._actors: dict[str, Actor] = {}
        self._working: dict[Ref, str] = {}
        self._placing: dict[Ref, str] = {}

    @property
    def connected(self) -> bool:
        """Whether the server has started, and can be spoken to."""
        return self._socket is not None

    def connect(self, seconds: float) -> bool:
        """Wait for the server's start for so long; whether it is connected now.

        Raises:
            ray.exceptions.RayActorError: the server died, or cannot be made.
        """
        if not ray.wait([self._address], timeout=seconds)[0]:
            return False
        address = ray.get(self._address, timeout=GET_SECONDS)
        self._socket = connect(address, RUNNER, address.local)
        # From its first message on, the server knows where reports go.
        self.send(runner_pb2.Command())
        self._training = self._server.train.remote()
        return True

    def send(self, command: runner_pb2.Command) -> None:
        """Send a command to the server."""
        self._connection.send(command.SerializeToString())

    def receive(self, seconds: float) -> runner_pb2.RunReport | None:
        """The server's next report; None if none comes in this time."""
        if not self._connection.poll(int(seconds * 1000) + 1):
            return None
        return runner_pb2.RunReport.FromString(self._connection.recv())

    def start_worker(self, name: str) -> None:
        """Start a worker; Ray has it wait for the server's address."""
        spec = self._assignment.spec
        actor = self._actors[name] = start_worker(self._assignment.worker_cpus)
        self._placing[actor.__ray_ready__.remote()] = name
        work = actor.work.remote(
            spec.job(), self._address, name, spec.workers.vectors, self._assignment.faults
        )
        self._working[work] = name

    def kill_worker(self, name: str) -> None:
        """End a worker's process, if there still is one of this name."""
        if name in self._actors:
            ray.kill(self._actors[name])

    def placed(self) -> list[str]:
        """The workers that have their CPUs since the last call."""
        return [self._placing.pop(ref) for ref in _done(self._placing)]

    def ended_workers(self) -> list[tuple[str, Ending]]:
        """The workers that have ended since the last call."""
        ended = [(self._working.pop(ref), _ending(ref)) for ref in _done(self._working)]
        for name, _ in ended:
            del self._actors[name]
        return ended

    def ended_server(self) -> Ending | None:
        """How the server has ended; None while it trains."""
        done = _done([self._training])
        return _ending(self._training) if done else None

    def stop(self) -> None:
        """End all of them."""
        if self._socket is not None:
            self._socket.close(linger=0)
        for actor in self._actors.values():
            ray.kill(actor)
        ray.kill(self._server)

    @property
    def _connection(self) -> zmq.Socket[bytes]:
        assert self._socket is not None, "the parameter server has not started"
        return self._socket


def _done(refs: Any) -> list[Ref]:
    watched = list(refs)
    done: list[Ref] = ray.wait(watched, num_returns=len(watched), timeout=0)[0] if watched else []
    return done


def _ending(ref: Ref) -> Ending:
    try:
        ray.get(ref, timeout=GET_SECONDS)
    except Exception as error:
        return Ending(error)
    return Ending(None)


def ray_reason(error: Exception) -> str:
    """What a Ray error says, without the remote traceback before it and the guesses behind it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].partition(" Worker exit type: ")[0] if lines else type(error).__name__

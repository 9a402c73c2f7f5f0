"""A parameter server in a process of its own; light to import, because a process starts with it."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from typing import Any

from sumgrad.trainer.server.parameter_server import ParameterServer
from sumgrad.trainer.server.saving import snapshot_keeper
from sumgrad.trainer.server.training_plan import TrainingPlan
from sumgrad.trainer.snapshots.background_writer import BackgroundWriter


def serve(plan: TrainingPlan, pipe: Connection) -> None:
    """Send the server's address, and train."""
    server = ParameterServer(plan)
    pipe.send(server.address)
    server.train()


class PromptWriter(BackgroundWriter):
    """Has saved when it has been offered something, so that a test knows what is there."""

    def offer(self, step: int, *content: Any) -> bool:
        taken = super().offer(step, *content)
        assert self._thread is not None
        self._thread.join()
        return taken


def serve_with(environment: dict[str, str], plan: TrainingPlan, pipe: Connection) -> None:
    """As ``serve_with_prompt_snapshots``, with more in its environment."""
    os.environ.update(environment)
    serve_with_prompt_snapshots(plan, pipe)


def serve_with_prompt_snapshots(plan: TrainingPlan, pipe: Connection) -> None:
    """As ``serve``, and every snapshot that is due is taken."""
    snapshot_keeper.BackgroundWriter = PromptWriter  # type: ignore[misc]
    serve(plan, pipe)

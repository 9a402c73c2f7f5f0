"""A parameter server in a process of its own; light to import, because a process starts with it."""

from __future__ import annotations

from multiprocessing.connection import Connection

from trainer.server.parameter_server import ParameterServer, TrainingPlan


def serve(plan: TrainingPlan, pipe: Connection) -> None:
    """Send the server's address, and train."""
    server = ParameterServer(plan)
    pipe.send(server.address)
    server.train()

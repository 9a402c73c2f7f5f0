"""Who may call which method: one line each, the same as in docs/access.md.

A method without a line is refused to everybody. A test compares the table with the descriptors of
all services.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sumgrad.trainer.service.access.caller import Role


@dataclass(frozen=True)
class Rule:
    """What a method requires of its callers.

    Attributes:
        least: the least role; None asks for no token.
        runs: the method is about runs; only admins reach those of other users.
        run: the request's field with the id of the run, whose owner the gate checks. Empty where
            the method itself selects by owner.
        changes: each call leaves a line in the audit log, whatever its outcome.
    """

    least: Role | None
    runs: bool = True
    run: str = ""
    changes: bool = False


OPEN = Rule(None, runs=False)
BY_RUN_TOKEN = Rule(None)
ANY_USER = Rule(Role.VIEWER, runs=False)
LIST = Rule(Role.VIEWER)
READ = Rule(Role.VIEWER, run="id")
SUBMIT = Rule(Role.SUBMITTER, changes=True)
VALIDATE = Rule(Role.SUBMITTER, runs=False)
CHANGE = Rule(Role.SUBMITTER, run="id", changes=True)

PERMISSIONS: Mapping[str, Rule] = {
    "/sumgrad.trainer.v1.TrainerService/SubmitRun": SUBMIT,
    "/sumgrad.trainer.v1.TrainerService/GetRun": READ,
    "/sumgrad.trainer.v1.TrainerService/ListRuns": LIST,
    "/sumgrad.trainer.v1.TrainerService/CancelRun": CHANGE,
    "/sumgrad.trainer.v1.TrainerService/PauseRun": CHANGE,
    "/sumgrad.trainer.v1.TrainerService/ResumeRun": CHANGE,
    "/sumgrad.trainer.v1.TrainerService/ScaleRun": CHANGE,
    "/sumgrad.trainer.v1.TrainerService/DeleteRun": CHANGE,
    "/sumgrad.trainer.v1.TrainerService/WatchRun": READ,
    "/sumgrad.trainer.v1.TrainerService/ListEvents": READ,
    "/sumgrad.trainer.v1.TrainerService/ListPoints": READ,
    "/sumgrad.trainer.v1.TrainerService/ValidateSpec": VALIDATE,
    "/sumgrad.trainer.v1.TrainerService/StreamLogs": READ,
    "/sumgrad.trainer.v1.TrainerService/DownloadWeights": READ,
    "/sumgrad.trainer.v1.TrainerService/Predict": READ,
    "/sumgrad.trainer.v1.RunnerService/TakeRun": BY_RUN_TOKEN,
    "/sumgrad.trainer.v1.RunnerService/Report": BY_RUN_TOKEN,
    "/sumgrad.trainer.v1.RunnerService/PutWeights": BY_RUN_TOKEN,
    "/grpc.health.v1.Health/Check": OPEN,
    "/grpc.health.v1.Health/List": OPEN,
    "/grpc.health.v1.Health/Watch": OPEN,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": ANY_USER,
}

from sumgrad.trainer.v1 import run_pb2 as _run_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TakeRunRequest(_message.Message):
    __slots__ = ("id", "attempt", "token")
    ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    id: str
    attempt: int
    token: str
    def __init__(self, id: _Optional[str] = ..., attempt: _Optional[int] = ..., token: _Optional[str] = ...) -> None: ...

class TakeRunResponse(_message.Message):
    __slots__ = ("spec", "directory", "directory_inode", "worker_cpus", "workers", "roots")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_INODE_FIELD_NUMBER: _ClassVar[int]
    WORKER_CPUS_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    spec: _run_pb2.RunSpec
    directory: str
    directory_inode: int
    worker_cpus: float
    workers: int
    roots: Roots
    def __init__(self, spec: _Optional[_Union[_run_pb2.RunSpec, _Mapping]] = ..., directory: _Optional[str] = ..., directory_inode: _Optional[int] = ..., worker_cpus: _Optional[float] = ..., workers: _Optional[int] = ..., roots: _Optional[_Union[Roots, _Mapping]] = ...) -> None: ...

class Roots(_message.Message):
    __slots__ = ("data", "snapshots")
    DATA_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    data: _containers.RepeatedScalarFieldContainer[str]
    snapshots: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, data: _Optional[_Iterable[str]] = ..., snapshots: _Optional[_Iterable[str]] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("id", "attempt", "token", "reports", "log")
    ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    id: str
    attempt: int
    token: str
    reports: _containers.RepeatedCompositeFieldContainer[RunReport]
    log: _containers.RepeatedCompositeFieldContainer[_run_pb2.LogLine]
    def __init__(self, id: _Optional[str] = ..., attempt: _Optional[int] = ..., token: _Optional[str] = ..., reports: _Optional[_Iterable[_Union[RunReport, _Mapping]]] = ..., log: _Optional[_Iterable[_Union[_run_pb2.LogLine, _Mapping]]] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ("cancel", "pause", "workers")
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    cancel: bool
    pause: bool
    workers: int
    def __init__(self, cancel: _Optional[bool] = ..., pause: _Optional[bool] = ..., workers: _Optional[int] = ...) -> None: ...

class PutWeightsRequest(_message.Message):
    __slots__ = ("file", "chunk")
    FILE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    file: AnnouncedWeights
    chunk: bytes
    def __init__(self, file: _Optional[_Union[AnnouncedWeights, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class AnnouncedWeights(_message.Message):
    __slots__ = ("id", "attempt", "token", "bytes", "sha256")
    ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    id: str
    attempt: int
    token: str
    bytes: int
    sha256: bytes
    def __init__(self, id: _Optional[str] = ..., attempt: _Optional[int] = ..., token: _Optional[str] = ..., bytes: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class PutWeightsResponse(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class RunReport(_message.Message):
    __slots__ = ("number", "progress", "epoch", "warning", "step_times", "finished", "failed", "cancelled", "paused", "membership", "snapshot_taken", "resumed", "restarted", "expel", "log", "dispatch")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    STEP_TIMES_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIP_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_TAKEN_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    RESTARTED_FIELD_NUMBER: _ClassVar[int]
    EXPEL_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    DISPATCH_FIELD_NUMBER: _ClassVar[int]
    number: int
    progress: _run_pb2.Progress
    epoch: _run_pb2.Epoch
    warning: _run_pb2.Warning
    step_times: StepTimes
    finished: _run_pb2.Result
    failed: Failed
    cancelled: Cancelled
    paused: Paused
    membership: _run_pb2.Membership
    snapshot_taken: _run_pb2.SnapshotTaken
    resumed: _run_pb2.Resumed
    restarted: _run_pb2.Restarted
    expel: ExpelWorker
    log: Log
    dispatch: _run_pb2.DispatchCounts
    def __init__(self, number: _Optional[int] = ..., progress: _Optional[_Union[_run_pb2.Progress, _Mapping]] = ..., epoch: _Optional[_Union[_run_pb2.Epoch, _Mapping]] = ..., warning: _Optional[_Union[_run_pb2.Warning, _Mapping]] = ..., step_times: _Optional[_Union[StepTimes, _Mapping]] = ..., finished: _Optional[_Union[_run_pb2.Result, _Mapping]] = ..., failed: _Optional[_Union[Failed, _Mapping]] = ..., cancelled: _Optional[_Union[Cancelled, _Mapping]] = ..., paused: _Optional[_Union[Paused, _Mapping]] = ..., membership: _Optional[_Union[_run_pb2.Membership, _Mapping]] = ..., snapshot_taken: _Optional[_Union[_run_pb2.SnapshotTaken, _Mapping]] = ..., resumed: _Optional[_Union[_run_pb2.Resumed, _Mapping]] = ..., restarted: _Optional[_Union[_run_pb2.Restarted, _Mapping]] = ..., expel: _Optional[_Union[ExpelWorker, _Mapping]] = ..., log: _Optional[_Union[Log, _Mapping]] = ..., dispatch: _Optional[_Union[_run_pb2.DispatchCounts, _Mapping]] = ...) -> None: ...

class Log(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[_run_pb2.LogLine]
    def __init__(self, lines: _Optional[_Iterable[_Union[_run_pb2.LogLine, _Mapping]]] = ...) -> None: ...

class Failed(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...

class Cancelled(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Paused(_message.Message):
    __slots__ = ("step", "reason")
    STEP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    step: int
    reason: str
    def __init__(self, step: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class ExpelWorker(_message.Message):
    __slots__ = ("worker", "reason")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    worker: str
    reason: str
    def __init__(self, worker: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class StepTimes(_message.Message):
    __slots__ = ("phases",)
    PHASES_FIELD_NUMBER: _ClassVar[int]
    phases: _containers.RepeatedCompositeFieldContainer[Phase]
    def __init__(self, phases: _Optional[_Iterable[_Union[Phase, _Mapping]]] = ...) -> None: ...

class Phase(_message.Message):
    __slots__ = ("name", "sum_seconds", "counts")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUM_SECONDS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    sum_seconds: float
    counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., sum_seconds: _Optional[float] = ..., counts: _Optional[_Iterable[int]] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("worker_lost", "cancel", "pause", "worker_retired")
    WORKER_LOST_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    WORKER_RETIRED_FIELD_NUMBER: _ClassVar[int]
    worker_lost: WorkerLost
    cancel: Cancel
    pause: Pause
    worker_retired: WorkerRetired
    def __init__(self, worker_lost: _Optional[_Union[WorkerLost, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., pause: _Optional[_Union[Pause, _Mapping]] = ..., worker_retired: _Optional[_Union[WorkerRetired, _Mapping]] = ...) -> None: ...

class WorkerLost(_message.Message):
    __slots__ = ("worker", "reason")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    worker: str
    reason: str
    def __init__(self, worker: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Pause(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WorkerRetired(_message.Message):
    __slots__ = ("worker",)
    WORKER_FIELD_NUMBER: _ClassVar[int]
    worker: str
    def __init__(self, worker: _Optional[str] = ...) -> None: ...

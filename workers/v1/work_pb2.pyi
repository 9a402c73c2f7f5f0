from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Split(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SPLIT_UNSPECIFIED: _ClassVar[Split]
    SPLIT_TRAIN: _ClassVar[Split]
    SPLIT_TEST: _ClassVar[Split]
SPLIT_UNSPECIFIED: Split
SPLIT_TRAIN: Split
SPLIT_TEST: Split

class ServerMessage(_message.Message):
    __slots__ = ("task", "ping", "stop")
    TASK_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    task: Task
    ping: Ping
    stop: Stop
    def __init__(self, task: _Optional[_Union[Task, _Mapping]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ..., stop: _Optional[_Union[Stop, _Mapping]] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("round", "begin", "end", "gradient", "evaluation", "diagnosis")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    DIAGNOSIS_FIELD_NUMBER: _ClassVar[int]
    round: int
    begin: int
    end: int
    gradient: Gradient
    evaluation: Evaluation
    diagnosis: Diagnosis
    def __init__(self, round: _Optional[int] = ..., begin: _Optional[int] = ..., end: _Optional[int] = ..., gradient: _Optional[_Union[Gradient, _Mapping]] = ..., evaluation: _Optional[_Union[Evaluation, _Mapping]] = ..., diagnosis: _Optional[_Union[Diagnosis, _Mapping]] = ...) -> None: ...

class Gradient(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: int
    def __init__(self, step: _Optional[int] = ...) -> None: ...

class Evaluation(_message.Message):
    __slots__ = ("split",)
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    split: Split
    def __init__(self, split: _Optional[_Union[Split, str]] = ...) -> None: ...

class Diagnosis(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: int
    def __init__(self, step: _Optional[int] = ...) -> None: ...

class Ping(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Stop(_message.Message):
    __slots__ = ("refused",)
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    refused: str
    def __init__(self, refused: _Optional[str] = ...) -> None: ...

class WorkerMessage(_message.Message):
    __slots__ = ("join", "answer", "failure", "log")
    JOIN_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    join: Join
    answer: Answer
    failure: Failure
    log: LogLines
    def __init__(self, join: _Optional[_Union[Join, _Mapping]] = ..., answer: _Optional[_Union[Answer, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., log: _Optional[_Union[LogLines, _Mapping]] = ...) -> None: ...

class Join(_message.Message):
    __slots__ = ("memory", "fingerprint", "fingerprint_parts", "data_digest")
    class FingerprintPartsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_PARTS_FIELD_NUMBER: _ClassVar[int]
    DATA_DIGEST_FIELD_NUMBER: _ClassVar[int]
    memory: Memory
    fingerprint: str
    fingerprint_parts: _containers.ScalarMap[str, str]
    data_digest: str
    def __init__(self, memory: _Optional[_Union[Memory, _Mapping]] = ..., fingerprint: _Optional[str] = ..., fingerprint_parts: _Optional[_Mapping[str, str]] = ..., data_digest: _Optional[str] = ...) -> None: ...

class Memory(_message.Message):
    __slots__ = ("process", "descriptor", "device", "inode", "rows", "columns")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTOR_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    INODE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    process: int
    descriptor: int
    device: int
    inode: int
    rows: int
    columns: int
    def __init__(self, process: _Optional[int] = ..., descriptor: _Optional[int] = ..., device: _Optional[int] = ..., inode: _Optional[int] = ..., rows: _Optional[int] = ..., columns: _Optional[int] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("round", "begin", "end", "losses", "rows", "metric", "compute_seconds", "findings")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    round: int
    begin: int
    end: int
    losses: _containers.RepeatedScalarFieldContainer[float]
    rows: int
    metric: _containers.RepeatedScalarFieldContainer[float]
    compute_seconds: float
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    def __init__(self, round: _Optional[int] = ..., begin: _Optional[int] = ..., end: _Optional[int] = ..., losses: _Optional[_Iterable[float]] = ..., rows: _Optional[int] = ..., metric: _Optional[_Iterable[float]] = ..., compute_seconds: _Optional[float] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("shard", "problem")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    shard: int
    problem: str
    def __init__(self, shard: _Optional[int] = ..., problem: _Optional[str] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("message", "permanent")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PERMANENT_FIELD_NUMBER: _ClassVar[int]
    message: str
    permanent: bool
    def __init__(self, message: _Optional[str] = ..., permanent: _Optional[bool] = ...) -> None: ...

class LogLines(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[LogLine]
    def __init__(self, lines: _Optional[_Iterable[_Union[LogLine, _Mapping]]] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("nanoseconds", "level", "message", "step")
    NANOSECONDS_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    nanoseconds: int
    level: int
    message: str
    step: int
    def __init__(self, nanoseconds: _Optional[int] = ..., level: _Optional[int] = ..., message: _Optional[str] = ..., step: _Optional[int] = ...) -> None: ...

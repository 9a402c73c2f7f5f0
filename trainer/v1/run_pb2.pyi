import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Loss(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOSS_UNSPECIFIED: _ClassVar[Loss]
    LOSS_CROSS_ENTROPY: _ClassVar[Loss]
    LOSS_SQUARED_ERROR: _ClassVar[Loss]

class Vectors(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VECTORS_UNSPECIFIED: _ClassVar[Vectors]
    VECTORS_AUTO: _ClassVar[Vectors]
    VECTORS_MEMORY: _ClassVar[Vectors]
    VECTORS_FRAMES: _ClassVar[Vectors]

class RunState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_STATE_UNSPECIFIED: _ClassVar[RunState]
    RUN_STATE_QUEUED: _ClassVar[RunState]
    RUN_STATE_LAUNCHING: _ClassVar[RunState]
    RUN_STATE_RUNNING: _ClassVar[RunState]
    RUN_STATE_SUCCEEDED: _ClassVar[RunState]
    RUN_STATE_FAILED: _ClassVar[RunState]
    RUN_STATE_CANCELLED: _ClassVar[RunState]
LOSS_UNSPECIFIED: Loss
LOSS_CROSS_ENTROPY: Loss
LOSS_SQUARED_ERROR: Loss
VECTORS_UNSPECIFIED: Vectors
VECTORS_AUTO: Vectors
VECTORS_MEMORY: Vectors
VECTORS_FRAMES: Vectors
RUN_STATE_UNSPECIFIED: RunState
RUN_STATE_QUEUED: RunState
RUN_STATE_LAUNCHING: RunState
RUN_STATE_RUNNING: RunState
RUN_STATE_SUCCEEDED: RunState
RUN_STATE_FAILED: RunState
RUN_STATE_CANCELLED: RunState

class RunSpec(_message.Message):
    __slots__ = ("name", "seed", "data", "model", "train", "workers")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TRAIN_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    seed: int
    data: Data
    model: Model
    train: Train
    workers: Workers
    def __init__(self, name: _Optional[str] = ..., seed: _Optional[int] = ..., data: _Optional[_Union[Data, _Mapping]] = ..., model: _Optional[_Union[Model, _Mapping]] = ..., train: _Optional[_Union[Train, _Mapping]] = ..., workers: _Optional[_Union[Workers, _Mapping]] = ...) -> None: ...

class Data(_message.Message):
    __slots__ = ("digits", "idx", "npz", "noise")
    DIGITS_FIELD_NUMBER: _ClassVar[int]
    IDX_FIELD_NUMBER: _ClassVar[int]
    NPZ_FIELD_NUMBER: _ClassVar[int]
    NOISE_FIELD_NUMBER: _ClassVar[int]
    digits: Digits
    idx: Idx
    npz: Npz
    noise: Noise
    def __init__(self, digits: _Optional[_Union[Digits, _Mapping]] = ..., idx: _Optional[_Union[Idx, _Mapping]] = ..., npz: _Optional[_Union[Npz, _Mapping]] = ..., noise: _Optional[_Union[Noise, _Mapping]] = ...) -> None: ...

class Digits(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Idx(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class Npz(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class Noise(_message.Message):
    __slots__ = ("shape", "rows", "classes")
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    shape: _containers.RepeatedScalarFieldContainer[int]
    rows: int
    classes: int
    def __init__(self, shape: _Optional[_Iterable[int]] = ..., rows: _Optional[int] = ..., classes: _Optional[int] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("layers", "loss")
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    layers: _containers.RepeatedCompositeFieldContainer[Layer]
    loss: Loss
    def __init__(self, layers: _Optional[_Iterable[_Union[Layer, _Mapping]]] = ..., loss: _Optional[_Union[Loss, str]] = ...) -> None: ...

class Layer(_message.Message):
    __slots__ = ("affine", "affine_relu", "flatten", "relu")
    AFFINE_FIELD_NUMBER: _ClassVar[int]
    AFFINE_RELU_FIELD_NUMBER: _ClassVar[int]
    FLATTEN_FIELD_NUMBER: _ClassVar[int]
    RELU_FIELD_NUMBER: _ClassVar[int]
    affine: Affine
    affine_relu: AffineRelu
    flatten: Flatten
    relu: Relu
    def __init__(self, affine: _Optional[_Union[Affine, _Mapping]] = ..., affine_relu: _Optional[_Union[AffineRelu, _Mapping]] = ..., flatten: _Optional[_Union[Flatten, _Mapping]] = ..., relu: _Optional[_Union[Relu, _Mapping]] = ...) -> None: ...

class Affine(_message.Message):
    __slots__ = ("units",)
    UNITS_FIELD_NUMBER: _ClassVar[int]
    units: int
    def __init__(self, units: _Optional[int] = ...) -> None: ...

class AffineRelu(_message.Message):
    __slots__ = ("units",)
    UNITS_FIELD_NUMBER: _ClassVar[int]
    units: int
    def __init__(self, units: _Optional[int] = ...) -> None: ...

class Flatten(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Relu(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Train(_message.Message):
    __slots__ = ("epochs", "steps", "batch_size", "full_batch", "shards", "update")
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    FULL_BATCH_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    epochs: int
    steps: int
    batch_size: int
    full_batch: bool
    shards: int
    update: Update
    def __init__(self, epochs: _Optional[int] = ..., steps: _Optional[int] = ..., batch_size: _Optional[int] = ..., full_batch: _Optional[bool] = ..., shards: _Optional[int] = ..., update: _Optional[_Union[Update, _Mapping]] = ...) -> None: ...

class Update(_message.Message):
    __slots__ = ("sgd", "momentum")
    SGD_FIELD_NUMBER: _ClassVar[int]
    MOMENTUM_FIELD_NUMBER: _ClassVar[int]
    sgd: Sgd
    momentum: Momentum
    def __init__(self, sgd: _Optional[_Union[Sgd, _Mapping]] = ..., momentum: _Optional[_Union[Momentum, _Mapping]] = ...) -> None: ...

class Sgd(_message.Message):
    __slots__ = ("learning_rate",)
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    learning_rate: float
    def __init__(self, learning_rate: _Optional[float] = ...) -> None: ...

class Momentum(_message.Message):
    __slots__ = ("learning_rate", "momentum")
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    MOMENTUM_FIELD_NUMBER: _ClassVar[int]
    learning_rate: float
    momentum: float
    def __init__(self, learning_rate: _Optional[float] = ..., momentum: _Optional[float] = ...) -> None: ...

class Workers(_message.Message):
    __slots__ = ("count", "vectors")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    count: int
    vectors: Vectors
    def __init__(self, count: _Optional[int] = ..., vectors: _Optional[_Union[Vectors, str]] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("id", "spec", "state", "created", "started", "ended", "attempt", "progress", "result", "message", "warnings")
    ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    id: str
    spec: RunSpec
    state: RunState
    created: _timestamp_pb2.Timestamp
    started: _timestamp_pb2.Timestamp
    ended: _timestamp_pb2.Timestamp
    attempt: int
    progress: Progress
    result: Result
    message: str
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., spec: _Optional[_Union[RunSpec, _Mapping]] = ..., state: _Optional[_Union[RunState, str]] = ..., created: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempt: _Optional[int] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., message: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("epoch", "epochs", "step", "steps", "samples", "e_in", "accuracy", "samples_per_second", "workers", "seconds_left")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    E_IN_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_LEFT_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    epochs: int
    step: int
    steps: int
    samples: int
    e_in: float
    accuracy: float
    samples_per_second: float
    workers: int
    seconds_left: float
    def __init__(self, epoch: _Optional[int] = ..., epochs: _Optional[int] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., samples: _Optional[int] = ..., e_in: _Optional[float] = ..., accuracy: _Optional[float] = ..., samples_per_second: _Optional[float] = ..., workers: _Optional[int] = ..., seconds_left: _Optional[float] = ...) -> None: ...

class Epoch(_message.Message):
    __slots__ = ("epoch", "step", "e_in", "e_out", "accuracy")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    E_IN_FIELD_NUMBER: _ClassVar[int]
    E_OUT_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    step: int
    e_in: float
    e_out: float
    accuracy: float
    def __init__(self, epoch: _Optional[int] = ..., step: _Optional[int] = ..., e_in: _Optional[float] = ..., e_out: _Optional[float] = ..., accuracy: _Optional[float] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("steps", "epochs", "e_in", "e_out", "accuracy", "weights_digest", "weights_path", "samples_per_second", "workers")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    E_IN_FIELD_NUMBER: _ClassVar[int]
    E_OUT_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_PATH_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    steps: int
    epochs: int
    e_in: float
    e_out: float
    accuracy: float
    weights_digest: str
    weights_path: str
    samples_per_second: float
    workers: int
    def __init__(self, steps: _Optional[int] = ..., epochs: _Optional[int] = ..., e_in: _Optional[float] = ..., e_out: _Optional[float] = ..., accuracy: _Optional[float] = ..., weights_digest: _Optional[str] = ..., weights_path: _Optional[str] = ..., samples_per_second: _Optional[float] = ..., workers: _Optional[int] = ...) -> None: ...

class StateChange(_message.Message):
    __slots__ = ("state", "message", "result")
    STATE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    state: RunState
    message: str
    result: Result
    def __init__(self, state: _Optional[_Union[RunState, str]] = ..., message: _Optional[str] = ..., result: _Optional[_Union[Result, _Mapping]] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("sequence", "time", "state_change", "progress", "epoch", "warning")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_CHANGE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    time: _timestamp_pb2.Timestamp
    state_change: StateChange
    progress: Progress
    epoch: Epoch
    warning: Warning
    def __init__(self, sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state_change: _Optional[_Union[StateChange, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., epoch: _Optional[_Union[Epoch, _Mapping]] = ..., warning: _Optional[_Union[Warning, _Mapping]] = ...) -> None: ...

import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Initialiser(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INITIALISER_UNSPECIFIED: _ClassVar[Initialiser]
    INITIALISER_HE: _ClassVar[Initialiser]
    INITIALISER_GLOROT: _ClassVar[Initialiser]
    INITIALISER_NORMAL: _ClassVar[Initialiser]
    INITIALISER_ZEROS: _ClassVar[Initialiser]

class Bias(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BIAS_UNSPECIFIED: _ClassVar[Bias]
    BIAS_CHANNEL: _ClassVar[Bias]
    BIAS_POSITION: _ClassVar[Bias]
    BIAS_NONE: _ClassVar[Bias]

class Ragged(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RAGGED_UNSPECIFIED: _ClassVar[Ragged]
    RAGGED_ERROR: _ClassVar[Ragged]
    RAGGED_DROP: _ClassVar[Ragged]

class Loss(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOSS_UNSPECIFIED: _ClassVar[Loss]
    LOSS_CROSS_ENTROPY: _ClassVar[Loss]
    LOSS_SQUARED_ERROR: _ClassVar[Loss]
    LOSS_LOGISTIC: _ClassVar[Loss]
    LOSS_SIGNED_LOGISTIC: _ClassVar[Loss]
    LOSS_SVM: _ClassVar[Loss]
    LOSS_RECONSTRUCTION: _ClassVar[Loss]

class NonFinite(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NON_FINITE_UNSPECIFIED: _ClassVar[NonFinite]
    NON_FINITE_FAIL: _ClassVar[NonFinite]
    NON_FINITE_SKIP: _ClassVar[NonFinite]

class FingerprintPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINGERPRINT_POLICY_UNSPECIFIED: _ClassVar[FingerprintPolicy]
    FINGERPRINT_POLICY_STRICT: _ClassVar[FingerprintPolicy]
    FINGERPRINT_POLICY_ANY: _ClassVar[FingerprintPolicy]

class Vectors(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VECTORS_UNSPECIFIED: _ClassVar[Vectors]
    VECTORS_AUTO: _ClassVar[Vectors]
    VECTORS_MEMORY: _ClassVar[Vectors]
    VECTORS_FRAMES: _ClassVar[Vectors]

class FaultPoint(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAULT_POINT_UNSPECIFIED: _ClassVar[FaultPoint]
    FAULT_POINT_COMPUTE: _ClassVar[FaultPoint]
    FAULT_POINT_ANSWER: _ClassVar[FaultPoint]
    FAULT_POINT_GATHERED: _ClassVar[FaultPoint]
    FAULT_POINT_APPLYING: _ClassVar[FaultPoint]
    FAULT_POINT_APPLIED: _ClassVar[FaultPoint]
    FAULT_POINT_SNAPSHOT: _ClassVar[FaultPoint]
    FAULT_POINT_PROGRESS: _ClassVar[FaultPoint]

class FaultAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAULT_ACTION_UNSPECIFIED: _ClassVar[FaultAction]
    FAULT_ACTION_RAISE: _ClassVar[FaultAction]
    FAULT_ACTION_KILL: _ClassVar[FaultAction]
    FAULT_ACTION_STOP: _ClassVar[FaultAction]
    FAULT_ACTION_DELAY: _ClassVar[FaultAction]
    FAULT_ACTION_POISON: _ClassVar[FaultAction]

class RunState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_STATE_UNSPECIFIED: _ClassVar[RunState]
    RUN_STATE_QUEUED: _ClassVar[RunState]
    RUN_STATE_LAUNCHING: _ClassVar[RunState]
    RUN_STATE_RUNNING: _ClassVar[RunState]
    RUN_STATE_SUCCEEDED: _ClassVar[RunState]
    RUN_STATE_FAILED: _ClassVar[RunState]
    RUN_STATE_CANCELLED: _ClassVar[RunState]
    RUN_STATE_PAUSED: _ClassVar[RunState]

class Stop(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STOP_UNSPECIFIED: _ClassVar[Stop]
    STOP_PAUSE: _ClassVar[Stop]
    STOP_CANCEL: _ClassVar[Stop]

class LogLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOG_LEVEL_UNSPECIFIED: _ClassVar[LogLevel]
    LOG_LEVEL_DEBUG: _ClassVar[LogLevel]
    LOG_LEVEL_INFO: _ClassVar[LogLevel]
    LOG_LEVEL_WARNING: _ClassVar[LogLevel]
    LOG_LEVEL_ERROR: _ClassVar[LogLevel]
INITIALISER_UNSPECIFIED: Initialiser
INITIALISER_HE: Initialiser
INITIALISER_GLOROT: Initialiser
INITIALISER_NORMAL: Initialiser
INITIALISER_ZEROS: Initialiser
BIAS_UNSPECIFIED: Bias
BIAS_CHANNEL: Bias
BIAS_POSITION: Bias
BIAS_NONE: Bias
RAGGED_UNSPECIFIED: Ragged
RAGGED_ERROR: Ragged
RAGGED_DROP: Ragged
LOSS_UNSPECIFIED: Loss
LOSS_CROSS_ENTROPY: Loss
LOSS_SQUARED_ERROR: Loss
LOSS_LOGISTIC: Loss
LOSS_SIGNED_LOGISTIC: Loss
LOSS_SVM: Loss
LOSS_RECONSTRUCTION: Loss
NON_FINITE_UNSPECIFIED: NonFinite
NON_FINITE_FAIL: NonFinite
NON_FINITE_SKIP: NonFinite
FINGERPRINT_POLICY_UNSPECIFIED: FingerprintPolicy
FINGERPRINT_POLICY_STRICT: FingerprintPolicy
FINGERPRINT_POLICY_ANY: FingerprintPolicy
VECTORS_UNSPECIFIED: Vectors
VECTORS_AUTO: Vectors
VECTORS_MEMORY: Vectors
VECTORS_FRAMES: Vectors
FAULT_POINT_UNSPECIFIED: FaultPoint
FAULT_POINT_COMPUTE: FaultPoint
FAULT_POINT_ANSWER: FaultPoint
FAULT_POINT_GATHERED: FaultPoint
FAULT_POINT_APPLYING: FaultPoint
FAULT_POINT_APPLIED: FaultPoint
FAULT_POINT_SNAPSHOT: FaultPoint
FAULT_POINT_PROGRESS: FaultPoint
FAULT_ACTION_UNSPECIFIED: FaultAction
FAULT_ACTION_RAISE: FaultAction
FAULT_ACTION_KILL: FaultAction
FAULT_ACTION_STOP: FaultAction
FAULT_ACTION_DELAY: FaultAction
FAULT_ACTION_POISON: FaultAction
RUN_STATE_UNSPECIFIED: RunState
RUN_STATE_QUEUED: RunState
RUN_STATE_LAUNCHING: RunState
RUN_STATE_RUNNING: RunState
RUN_STATE_SUCCEEDED: RunState
RUN_STATE_FAILED: RunState
RUN_STATE_CANCELLED: RunState
RUN_STATE_PAUSED: RunState
STOP_UNSPECIFIED: Stop
STOP_PAUSE: Stop
STOP_CANCEL: Stop
LOG_LEVEL_UNSPECIFIED: LogLevel
LOG_LEVEL_DEBUG: LogLevel
LOG_LEVEL_INFO: LogLevel
LOG_LEVEL_WARNING: LogLevel
LOG_LEVEL_ERROR: LogLevel

class RunSpec(_message.Message):
    __slots__ = ("name", "seed", "data", "model", "train", "workers", "faults", "snapshots")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TRAIN_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    seed: int
    data: Data
    model: Model
    train: Train
    workers: Workers
    faults: _containers.RepeatedCompositeFieldContainer[Fault]
    snapshots: Snapshots
    def __init__(self, name: _Optional[str] = ..., seed: _Optional[int] = ..., data: _Optional[_Union[Data, _Mapping]] = ..., model: _Optional[_Union[Model, _Mapping]] = ..., train: _Optional[_Union[Train, _Mapping]] = ..., workers: _Optional[_Union[Workers, _Mapping]] = ..., faults: _Optional[_Iterable[_Union[Fault, _Mapping]]] = ..., snapshots: _Optional[_Union[Snapshots, _Mapping]] = ...) -> None: ...

class Data(_message.Message):
    __slots__ = ("digits", "idx", "npz", "noise", "xor", "diabetes")
    DIGITS_FIELD_NUMBER: _ClassVar[int]
    IDX_FIELD_NUMBER: _ClassVar[int]
    NPZ_FIELD_NUMBER: _ClassVar[int]
    NOISE_FIELD_NUMBER: _ClassVar[int]
    XOR_FIELD_NUMBER: _ClassVar[int]
    DIABETES_FIELD_NUMBER: _ClassVar[int]
    digits: Digits
    idx: Idx
    npz: Npz
    noise: Noise
    xor: Xor
    diabetes: Diabetes
    def __init__(self, digits: _Optional[_Union[Digits, _Mapping]] = ..., idx: _Optional[_Union[Idx, _Mapping]] = ..., npz: _Optional[_Union[Npz, _Mapping]] = ..., noise: _Optional[_Union[Noise, _Mapping]] = ..., xor: _Optional[_Union[Xor, _Mapping]] = ..., diabetes: _Optional[_Union[Diabetes, _Mapping]] = ...) -> None: ...

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

class Xor(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Diabetes(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Model(_message.Message):
    __slots__ = ("layers", "loss", "start_from")
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    START_FROM_FIELD_NUMBER: _ClassVar[int]
    layers: _containers.RepeatedCompositeFieldContainer[Layer]
    loss: Loss
    start_from: str
    def __init__(self, layers: _Optional[_Iterable[_Union[Layer, _Mapping]]] = ..., loss: _Optional[_Union[Loss, str]] = ..., start_from: _Optional[str] = ...) -> None: ...

class Layer(_message.Message):
    __slots__ = ("affine", "affine_relu", "flatten", "relu", "tanh", "elu", "sigmoid", "maxout", "layer_norm", "convolution", "convolution_relu", "max_pool", "mean_pool", "dropout")
    AFFINE_FIELD_NUMBER: _ClassVar[int]
    AFFINE_RELU_FIELD_NUMBER: _ClassVar[int]
    FLATTEN_FIELD_NUMBER: _ClassVar[int]
    RELU_FIELD_NUMBER: _ClassVar[int]
    TANH_FIELD_NUMBER: _ClassVar[int]
    ELU_FIELD_NUMBER: _ClassVar[int]
    SIGMOID_FIELD_NUMBER: _ClassVar[int]
    MAXOUT_FIELD_NUMBER: _ClassVar[int]
    LAYER_NORM_FIELD_NUMBER: _ClassVar[int]
    CONVOLUTION_FIELD_NUMBER: _ClassVar[int]
    CONVOLUTION_RELU_FIELD_NUMBER: _ClassVar[int]
    MAX_POOL_FIELD_NUMBER: _ClassVar[int]
    MEAN_POOL_FIELD_NUMBER: _ClassVar[int]
    DROPOUT_FIELD_NUMBER: _ClassVar[int]
    affine: Affine
    affine_relu: AffineRelu
    flatten: Flatten
    relu: Relu
    tanh: Tanh
    elu: Elu
    sigmoid: Sigmoid
    maxout: Maxout
    layer_norm: LayerNorm
    convolution: Convolution
    convolution_relu: ConvolutionRelu
    max_pool: MaxPool
    mean_pool: MeanPool
    dropout: Dropout
    def __init__(self, affine: _Optional[_Union[Affine, _Mapping]] = ..., affine_relu: _Optional[_Union[AffineRelu, _Mapping]] = ..., flatten: _Optional[_Union[Flatten, _Mapping]] = ..., relu: _Optional[_Union[Relu, _Mapping]] = ..., tanh: _Optional[_Union[Tanh, _Mapping]] = ..., elu: _Optional[_Union[Elu, _Mapping]] = ..., sigmoid: _Optional[_Union[Sigmoid, _Mapping]] = ..., maxout: _Optional[_Union[Maxout, _Mapping]] = ..., layer_norm: _Optional[_Union[LayerNorm, _Mapping]] = ..., convolution: _Optional[_Union[Convolution, _Mapping]] = ..., convolution_relu: _Optional[_Union[ConvolutionRelu, _Mapping]] = ..., max_pool: _Optional[_Union[MaxPool, _Mapping]] = ..., mean_pool: _Optional[_Union[MeanPool, _Mapping]] = ..., dropout: _Optional[_Union[Dropout, _Mapping]] = ...) -> None: ...

class Affine(_message.Message):
    __slots__ = ("units", "initialiser", "init_std")
    UNITS_FIELD_NUMBER: _ClassVar[int]
    INITIALISER_FIELD_NUMBER: _ClassVar[int]
    INIT_STD_FIELD_NUMBER: _ClassVar[int]
    units: int
    initialiser: Initialiser
    init_std: float
    def __init__(self, units: _Optional[int] = ..., initialiser: _Optional[_Union[Initialiser, str]] = ..., init_std: _Optional[float] = ...) -> None: ...

class AffineRelu(_message.Message):
    __slots__ = ("units", "initialiser", "init_std")
    UNITS_FIELD_NUMBER: _ClassVar[int]
    INITIALISER_FIELD_NUMBER: _ClassVar[int]
    INIT_STD_FIELD_NUMBER: _ClassVar[int]
    units: int
    initialiser: Initialiser
    init_std: float
    def __init__(self, units: _Optional[int] = ..., initialiser: _Optional[_Union[Initialiser, str]] = ..., init_std: _Optional[float] = ...) -> None: ...

class Flatten(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Relu(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Tanh(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Elu(_message.Message):
    __slots__ = ("alpha",)
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    alpha: float
    def __init__(self, alpha: _Optional[float] = ...) -> None: ...

class Sigmoid(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Maxout(_message.Message):
    __slots__ = ("units", "pieces", "initialiser", "init_std")
    UNITS_FIELD_NUMBER: _ClassVar[int]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    INITIALISER_FIELD_NUMBER: _ClassVar[int]
    INIT_STD_FIELD_NUMBER: _ClassVar[int]
    units: int
    pieces: int
    initialiser: Initialiser
    init_std: float
    def __init__(self, units: _Optional[int] = ..., pieces: _Optional[int] = ..., initialiser: _Optional[_Union[Initialiser, str]] = ..., init_std: _Optional[float] = ...) -> None: ...

class LayerNorm(_message.Message):
    __slots__ = ("epsilon",)
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    epsilon: float
    def __init__(self, epsilon: _Optional[float] = ...) -> None: ...

class Dropout(_message.Message):
    __slots__ = ("rate",)
    RATE_FIELD_NUMBER: _ClassVar[int]
    rate: float
    def __init__(self, rate: _Optional[float] = ...) -> None: ...

class Convolution(_message.Message):
    __slots__ = ("channels", "kernel", "stride", "padding", "bias", "initialiser", "init_std")
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    INITIALISER_FIELD_NUMBER: _ClassVar[int]
    INIT_STD_FIELD_NUMBER: _ClassVar[int]
    channels: int
    kernel: _containers.RepeatedScalarFieldContainer[int]
    stride: _containers.RepeatedScalarFieldContainer[int]
    padding: _containers.RepeatedScalarFieldContainer[int]
    bias: Bias
    initialiser: Initialiser
    init_std: float
    def __init__(self, channels: _Optional[int] = ..., kernel: _Optional[_Iterable[int]] = ..., stride: _Optional[_Iterable[int]] = ..., padding: _Optional[_Iterable[int]] = ..., bias: _Optional[_Union[Bias, str]] = ..., initialiser: _Optional[_Union[Initialiser, str]] = ..., init_std: _Optional[float] = ...) -> None: ...

class ConvolutionRelu(_message.Message):
    __slots__ = ("channels", "kernel", "stride", "padding", "bias", "initialiser", "init_std")
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    INITIALISER_FIELD_NUMBER: _ClassVar[int]
    INIT_STD_FIELD_NUMBER: _ClassVar[int]
    channels: int
    kernel: _containers.RepeatedScalarFieldContainer[int]
    stride: _containers.RepeatedScalarFieldContainer[int]
    padding: _containers.RepeatedScalarFieldContainer[int]
    bias: Bias
    initialiser: Initialiser
    init_std: float
    def __init__(self, channels: _Optional[int] = ..., kernel: _Optional[_Iterable[int]] = ..., stride: _Optional[_Iterable[int]] = ..., padding: _Optional[_Iterable[int]] = ..., bias: _Optional[_Union[Bias, str]] = ..., initialiser: _Optional[_Union[Initialiser, str]] = ..., init_std: _Optional[float] = ...) -> None: ...

class MaxPool(_message.Message):
    __slots__ = ("size", "ragged")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    RAGGED_FIELD_NUMBER: _ClassVar[int]
    size: _containers.RepeatedScalarFieldContainer[int]
    ragged: Ragged
    def __init__(self, size: _Optional[_Iterable[int]] = ..., ragged: _Optional[_Union[Ragged, str]] = ...) -> None: ...

class MeanPool(_message.Message):
    __slots__ = ("size", "ragged")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    RAGGED_FIELD_NUMBER: _ClassVar[int]
    size: _containers.RepeatedScalarFieldContainer[int]
    ragged: Ragged
    def __init__(self, size: _Optional[_Iterable[int]] = ..., ragged: _Optional[_Union[Ragged, str]] = ...) -> None: ...

class Train(_message.Message):
    __slots__ = ("epochs", "steps", "batch_size", "full_batch", "shards", "update", "weight_decay", "clip_value", "clip_norm", "schedule", "warmup_steps", "early_stopping", "non_finite", "stop_after")
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    FULL_BATCH_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_DECAY_FIELD_NUMBER: _ClassVar[int]
    CLIP_VALUE_FIELD_NUMBER: _ClassVar[int]
    CLIP_NORM_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    WARMUP_STEPS_FIELD_NUMBER: _ClassVar[int]
    EARLY_STOPPING_FIELD_NUMBER: _ClassVar[int]
    NON_FINITE_FIELD_NUMBER: _ClassVar[int]
    STOP_AFTER_FIELD_NUMBER: _ClassVar[int]
    epochs: int
    steps: int
    batch_size: int
    full_batch: bool
    shards: int
    update: Update
    weight_decay: float
    clip_value: float
    clip_norm: float
    schedule: Schedule
    warmup_steps: int
    early_stopping: EarlyStopping
    non_finite: NonFinite
    stop_after: int
    def __init__(self, epochs: _Optional[int] = ..., steps: _Optional[int] = ..., batch_size: _Optional[int] = ..., full_batch: _Optional[bool] = ..., shards: _Optional[int] = ..., update: _Optional[_Union[Update, _Mapping]] = ..., weight_decay: _Optional[float] = ..., clip_value: _Optional[float] = ..., clip_norm: _Optional[float] = ..., schedule: _Optional[_Union[Schedule, _Mapping]] = ..., warmup_steps: _Optional[int] = ..., early_stopping: _Optional[_Union[EarlyStopping, _Mapping]] = ..., non_finite: _Optional[_Union[NonFinite, str]] = ..., stop_after: _Optional[int] = ...) -> None: ...

class Update(_message.Message):
    __slots__ = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw")
    SGD_FIELD_NUMBER: _ClassVar[int]
    MOMENTUM_FIELD_NUMBER: _ClassVar[int]
    NESTEROV_FIELD_NUMBER: _ClassVar[int]
    ADAGRAD_FIELD_NUMBER: _ClassVar[int]
    RMSPROP_FIELD_NUMBER: _ClassVar[int]
    ADAM_FIELD_NUMBER: _ClassVar[int]
    ADAMW_FIELD_NUMBER: _ClassVar[int]
    sgd: Sgd
    momentum: Momentum
    nesterov: Nesterov
    adagrad: Adagrad
    rmsprop: Rmsprop
    adam: Adam
    adamw: Adamw
    def __init__(self, sgd: _Optional[_Union[Sgd, _Mapping]] = ..., momentum: _Optional[_Union[Momentum, _Mapping]] = ..., nesterov: _Optional[_Union[Nesterov, _Mapping]] = ..., adagrad: _Optional[_Union[Adagrad, _Mapping]] = ..., rmsprop: _Optional[_Union[Rmsprop, _Mapping]] = ..., adam: _Optional[_Union[Adam, _Mapping]] = ..., adamw: _Optional[_Union[Adamw, _Mapping]] = ...) -> None: ...

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

class Nesterov(_message.Message):
    __slots__ = ("learning_rate", "momentum")
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    MOMENTUM_FIELD_NUMBER: _ClassVar[int]
    learning_rate: float
    momentum: float
    def __init__(self, learning_rate: _Optional[float] = ..., momentum: _Optional[float] = ...) -> None: ...

class Adagrad(_message.Message):
    __slots__ = ("learning_rate", "epsilon")
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    learning_rate: float
    epsilon: float
    def __init__(self, learning_rate: _Optional[float] = ..., epsilon: _Optional[float] = ...) -> None: ...

class Rmsprop(_message.Message):
    __slots__ = ("learning_rate", "decay", "epsilon")
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    DECAY_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    learning_rate: float
    decay: float
    epsilon: float
    def __init__(self, learning_rate: _Optional[float] = ..., decay: _Optional[float] = ..., epsilon: _Optional[float] = ...) -> None: ...

class Adam(_message.Message):
    __slots__ = ("learning_rate", "beta1", "beta2", "epsilon")
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    BETA1_FIELD_NUMBER: _ClassVar[int]
    BETA2_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    def __init__(self, learning_rate: _Optional[float] = ..., beta1: _Optional[float] = ..., beta2: _Optional[float] = ..., epsilon: _Optional[float] = ...) -> None: ...

class Adamw(_message.Message):
    __slots__ = ("learning_rate", "beta1", "beta2", "epsilon", "weight_decay")
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    BETA1_FIELD_NUMBER: _ClassVar[int]
    BETA2_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_DECAY_FIELD_NUMBER: _ClassVar[int]
    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    def __init__(self, learning_rate: _Optional[float] = ..., beta1: _Optional[float] = ..., beta2: _Optional[float] = ..., epsilon: _Optional[float] = ..., weight_decay: _Optional[float] = ...) -> None: ...

class Schedule(_message.Message):
    __slots__ = ("constant", "step", "cosine", "plateau")
    CONSTANT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    COSINE_FIELD_NUMBER: _ClassVar[int]
    PLATEAU_FIELD_NUMBER: _ClassVar[int]
    constant: Constant
    step: Step
    cosine: Cosine
    plateau: Plateau
    def __init__(self, constant: _Optional[_Union[Constant, _Mapping]] = ..., step: _Optional[_Union[Step, _Mapping]] = ..., cosine: _Optional[_Union[Cosine, _Mapping]] = ..., plateau: _Optional[_Union[Plateau, _Mapping]] = ...) -> None: ...

class Constant(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Step(_message.Message):
    __slots__ = ("every_epochs", "factor")
    EVERY_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    every_epochs: int
    factor: float
    def __init__(self, every_epochs: _Optional[int] = ..., factor: _Optional[float] = ...) -> None: ...

class Cosine(_message.Message):
    __slots__ = ("floor",)
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    floor: float
    def __init__(self, floor: _Optional[float] = ...) -> None: ...

class Plateau(_message.Message):
    __slots__ = ("patience", "factor", "min_delta")
    PATIENCE_FIELD_NUMBER: _ClassVar[int]
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    MIN_DELTA_FIELD_NUMBER: _ClassVar[int]
    patience: int
    factor: float
    min_delta: float
    def __init__(self, patience: _Optional[int] = ..., factor: _Optional[float] = ..., min_delta: _Optional[float] = ...) -> None: ...

class EarlyStopping(_message.Message):
    __slots__ = ("patience", "min_delta")
    PATIENCE_FIELD_NUMBER: _ClassVar[int]
    MIN_DELTA_FIELD_NUMBER: _ClassVar[int]
    patience: int
    min_delta: float
    def __init__(self, patience: _Optional[int] = ..., min_delta: _Optional[float] = ...) -> None: ...

class Workers(_message.Message):
    __slots__ = ("count", "vectors", "fingerprint")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    count: int
    vectors: Vectors
    fingerprint: FingerprintPolicy
    def __init__(self, count: _Optional[int] = ..., vectors: _Optional[_Union[Vectors, str]] = ..., fingerprint: _Optional[_Union[FingerprintPolicy, str]] = ...) -> None: ...

class Snapshots(_message.Message):
    __slots__ = ("every_steps", "every_seconds", "keep", "location")
    EVERY_STEPS_FIELD_NUMBER: _ClassVar[int]
    EVERY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    every_steps: int
    every_seconds: float
    keep: int
    location: str
    def __init__(self, every_steps: _Optional[int] = ..., every_seconds: _Optional[float] = ..., keep: _Optional[int] = ..., location: _Optional[str] = ...) -> None: ...

class Fault(_message.Message):
    __slots__ = ("target", "step", "point", "action", "seconds", "every_attempt")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    POINT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    EVERY_ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    target: str
    step: int
    point: FaultPoint
    action: FaultAction
    seconds: float
    every_attempt: bool
    def __init__(self, target: _Optional[str] = ..., step: _Optional[int] = ..., point: _Optional[_Union[FaultPoint, str]] = ..., action: _Optional[_Union[FaultAction, str]] = ..., seconds: _Optional[float] = ..., every_attempt: _Optional[bool] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("id", "spec", "state", "created", "started", "ended", "attempt", "progress", "result", "message", "warnings", "workers", "restarts", "fruitless_attempts", "furthest_step", "snapshot_step", "owner", "request_id", "labels", "priority", "preempted_by", "queue", "stop_requested", "dispatch")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
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
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    FRUITLESS_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    FURTHEST_STEP_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_STEP_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    PREEMPTED_BY_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    STOP_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    DISPATCH_FIELD_NUMBER: _ClassVar[int]
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
    workers: int
    restarts: int
    fruitless_attempts: int
    furthest_step: int
    snapshot_step: int
    owner: str
    request_id: str
    labels: _containers.ScalarMap[str, str]
    priority: int
    preempted_by: str
    queue: QueueStatus
    stop_requested: Stop
    dispatch: DispatchCounts
    def __init__(self, id: _Optional[str] = ..., spec: _Optional[_Union[RunSpec, _Mapping]] = ..., state: _Optional[_Union[RunState, str]] = ..., created: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempt: _Optional[int] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., message: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ..., workers: _Optional[int] = ..., restarts: _Optional[int] = ..., fruitless_attempts: _Optional[int] = ..., furthest_step: _Optional[int] = ..., snapshot_step: _Optional[int] = ..., owner: _Optional[str] = ..., request_id: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., priority: _Optional[int] = ..., preempted_by: _Optional[str] = ..., queue: _Optional[_Union[QueueStatus, _Mapping]] = ..., stop_requested: _Optional[_Union[Stop, str]] = ..., dispatch: _Optional[_Union[DispatchCounts, _Mapping]] = ...) -> None: ...

class QueueStatus(_message.Message):
    __slots__ = ("position", "reason", "estimated_start")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_START_FIELD_NUMBER: _ClassVar[int]
    position: int
    reason: str
    estimated_start: _timestamp_pb2.Timestamp
    def __init__(self, position: _Optional[int] = ..., reason: _Optional[str] = ..., estimated_start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("epoch", "epochs", "step", "steps", "samples", "e_in", "accuracy", "r2", "rmse", "samples_per_second", "workers", "seconds_left", "skipped_steps")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    E_IN_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    R2_FIELD_NUMBER: _ClassVar[int]
    RMSE_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_LEFT_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_STEPS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    epochs: int
    step: int
    steps: int
    samples: int
    e_in: float
    accuracy: float
    r2: float
    rmse: float
    samples_per_second: float
    workers: int
    seconds_left: float
    skipped_steps: int
    def __init__(self, epoch: _Optional[int] = ..., epochs: _Optional[int] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., samples: _Optional[int] = ..., e_in: _Optional[float] = ..., accuracy: _Optional[float] = ..., r2: _Optional[float] = ..., rmse: _Optional[float] = ..., samples_per_second: _Optional[float] = ..., workers: _Optional[int] = ..., seconds_left: _Optional[float] = ..., skipped_steps: _Optional[int] = ...) -> None: ...

class Epoch(_message.Message):
    __slots__ = ("epoch", "step", "e_in", "e_out", "accuracy", "r2", "rmse", "weights_digest")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    E_IN_FIELD_NUMBER: _ClassVar[int]
    E_OUT_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    R2_FIELD_NUMBER: _ClassVar[int]
    RMSE_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    step: int
    e_in: float
    e_out: float
    accuracy: float
    r2: float
    rmse: float
    weights_digest: str
    def __init__(self, epoch: _Optional[int] = ..., step: _Optional[int] = ..., e_in: _Optional[float] = ..., e_out: _Optional[float] = ..., accuracy: _Optional[float] = ..., r2: _Optional[float] = ..., rmse: _Optional[float] = ..., weights_digest: _Optional[str] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("steps", "epochs", "e_in", "e_out", "accuracy", "r2", "rmse", "weights_digest", "weights_path", "samples_per_second", "workers", "best_epoch", "stopped_early", "bitwise", "not_bitwise_because", "skipped_steps", "receipt")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    E_IN_FIELD_NUMBER: _ClassVar[int]
    E_OUT_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    R2_FIELD_NUMBER: _ClassVar[int]
    RMSE_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_PATH_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    BEST_EPOCH_FIELD_NUMBER: _ClassVar[int]
    STOPPED_EARLY_FIELD_NUMBER: _ClassVar[int]
    BITWISE_FIELD_NUMBER: _ClassVar[int]
    NOT_BITWISE_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_STEPS_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    steps: int
    epochs: int
    e_in: float
    e_out: float
    accuracy: float
    r2: float
    rmse: float
    weights_digest: str
    weights_path: str
    samples_per_second: float
    workers: int
    best_epoch: int
    stopped_early: bool
    bitwise: bool
    not_bitwise_because: str
    skipped_steps: int
    receipt: Receipt
    def __init__(self, steps: _Optional[int] = ..., epochs: _Optional[int] = ..., e_in: _Optional[float] = ..., e_out: _Optional[float] = ..., accuracy: _Optional[float] = ..., r2: _Optional[float] = ..., rmse: _Optional[float] = ..., weights_digest: _Optional[str] = ..., weights_path: _Optional[str] = ..., samples_per_second: _Optional[float] = ..., workers: _Optional[int] = ..., best_epoch: _Optional[int] = ..., stopped_early: _Optional[bool] = ..., bitwise: _Optional[bool] = ..., not_bitwise_because: _Optional[str] = ..., skipped_steps: _Optional[int] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("spec_digest", "code_version", "data_digest", "fingerprint", "fingerprint_parts", "start_digest")
    class FingerprintPartsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SPEC_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CODE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DATA_DIGEST_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_PARTS_FIELD_NUMBER: _ClassVar[int]
    START_DIGEST_FIELD_NUMBER: _ClassVar[int]
    spec_digest: str
    code_version: str
    data_digest: str
    fingerprint: str
    fingerprint_parts: _containers.ScalarMap[str, str]
    start_digest: str
    def __init__(self, spec_digest: _Optional[str] = ..., code_version: _Optional[str] = ..., data_digest: _Optional[str] = ..., fingerprint: _Optional[str] = ..., fingerprint_parts: _Optional[_Mapping[str, str]] = ..., start_digest: _Optional[str] = ...) -> None: ...

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

class Scaled(_message.Message):
    __slots__ = ("workers",)
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: int
    def __init__(self, workers: _Optional[int] = ...) -> None: ...

class Membership(_message.Message):
    __slots__ = ("worker", "joined", "step", "reason")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    worker: str
    joined: bool
    step: int
    reason: str
    def __init__(self, worker: _Optional[str] = ..., joined: _Optional[bool] = ..., step: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class SnapshotTaken(_message.Message):
    __slots__ = ("step", "seconds", "bytes")
    STEP_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    step: int
    seconds: float
    bytes: int
    def __init__(self, step: _Optional[int] = ..., seconds: _Optional[float] = ..., bytes: _Optional[int] = ...) -> None: ...

class Resumed(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: int
    def __init__(self, step: _Optional[int] = ...) -> None: ...

class Preempted(_message.Message):
    __slots__ = ("by",)
    BY_FIELD_NUMBER: _ClassVar[int]
    by: str
    def __init__(self, by: _Optional[str] = ...) -> None: ...

class StopRequested(_message.Message):
    __slots__ = ("stop",)
    STOP_FIELD_NUMBER: _ClassVar[int]
    stop: Stop
    def __init__(self, stop: _Optional[_Union[Stop, str]] = ...) -> None: ...

class Restarted(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class DispatchCounts(_message.Message):
    __slots__ = ("stale_answers", "copies", "dropped_copies", "expelled")
    STALE_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    DROPPED_COPIES_FIELD_NUMBER: _ClassVar[int]
    EXPELLED_FIELD_NUMBER: _ClassVar[int]
    stale_answers: int
    copies: int
    dropped_copies: int
    expelled: int
    def __init__(self, stale_answers: _Optional[int] = ..., copies: _Optional[int] = ..., dropped_copies: _Optional[int] = ..., expelled: _Optional[int] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("sequence", "time", "state_change", "progress", "epoch", "warning", "scaled", "membership", "snapshot_taken", "resumed", "restarted", "preempted", "stop_requested", "dispatch")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_CHANGE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    SCALED_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIP_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_TAKEN_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    RESTARTED_FIELD_NUMBER: _ClassVar[int]
    PREEMPTED_FIELD_NUMBER: _ClassVar[int]
    STOP_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    DISPATCH_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    time: _timestamp_pb2.Timestamp
    state_change: StateChange
    progress: Progress
    epoch: Epoch
    warning: Warning
    scaled: Scaled
    membership: Membership
    snapshot_taken: SnapshotTaken
    resumed: Resumed
    restarted: Restarted
    preempted: Preempted
    stop_requested: StopRequested
    dispatch: DispatchCounts
    def __init__(self, sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state_change: _Optional[_Union[StateChange, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., epoch: _Optional[_Union[Epoch, _Mapping]] = ..., warning: _Optional[_Union[Warning, _Mapping]] = ..., scaled: _Optional[_Union[Scaled, _Mapping]] = ..., membership: _Optional[_Union[Membership, _Mapping]] = ..., snapshot_taken: _Optional[_Union[SnapshotTaken, _Mapping]] = ..., resumed: _Optional[_Union[Resumed, _Mapping]] = ..., restarted: _Optional[_Union[Restarted, _Mapping]] = ..., preempted: _Optional[_Union[Preempted, _Mapping]] = ..., stop_requested: _Optional[_Union[StopRequested, _Mapping]] = ..., dispatch: _Optional[_Union[DispatchCounts, _Mapping]] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("sequence", "time", "source", "level", "message", "attempt", "step")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    time: _timestamp_pb2.Timestamp
    source: str
    level: LogLevel
    message: str
    attempt: int
    step: int
    def __init__(self, sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., level: _Optional[_Union[LogLevel, str]] = ..., message: _Optional[str] = ..., attempt: _Optional[int] = ..., step: _Optional[int] = ...) -> None: ...

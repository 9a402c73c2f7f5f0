"""The specification of a run, and every check that needs no data.

The same fields stand in a TOML file, in ``sumgrad.trainer.v1.RunSpec`` and here;
docs/specification.md explains them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from sumgrad.layers import LAYERS, LOSSES, Layer, Loss
from sumgrad.layers.base.hyperparameters import LARGEST_COUNT
from sumgrad.trainer.arithmetic.early_stopping import EarlyStopping
from sumgrad.trainer.arithmetic.schedules import SCHEDULES, Constant
from sumgrad.trainer.arithmetic.update_rules import UPDATE_RULES, Descent
from sumgrad.trainer.spec.allowed_locations import SpecRoots
from sumgrad.trainer.spec.blocks import table, tagged
from sumgrad.workers.datasets import DATASETS, Source
from sumgrad.workers.drills.drill import Fault
from sumgrad.workers.job import Job

Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
Limit = Annotated[float, Field(gt=0)]

BatchSize = Annotated[
    Annotated[Count, Tag("rows")] | Annotated[Literal["full"], Tag("full")],
    Discriminator(lambda value: "full" if isinstance(value, str) else "rows"),
]


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, arbitrary_types_allowed=True
    )


def _one_of(value: Any, names: list[str]) -> Any:
    if isinstance(value, str) and value not in names:
        raise PydanticCustomError("unknown_name", f"must be one of: {', '.join(names)}")
    return value


def _check_name(name: str) -> str:
    if not name.isprintable():
        raise PydanticCustomError("name", "must not have control characters")
    return name


def _check_location(location: str) -> str:
    if not location.startswith("/") and "://" not in location:
        problem = "must be an absolute path or an address such as s3://bucket/folder"
        raise PydanticCustomError("location", f"{problem}, got {location[:80]!r}")
    if "://" in location and "::" in location:
        # fsspec would read through the first to the second, or keep copies.
        problem = "must be one address and not a chain of several (::)"
        raise PydanticCustomError("location", f"{problem}, got {location[:80]!r}")
    if "\0" in location:
        raise PydanticCustomError("location", "must not have a NUL character")
    return location


Location = Annotated[str, Field(max_length=1000), AfterValidator(_check_location)]


class Model(_Section):
    layers: Annotated[list[tagged(LAYERS, "type")], Field(min_length=1, max_length=1000)]  # type: ignore[valid-type]
    loss: Annotated[str, BeforeValidator(lambda value: _one_of(value, sorted(LOSSES)))]
    start_from: Location | None = None


class Train(_Section):
    epochs: Count | None = None
    steps: Count | None = None
    batch_size: BatchSize
    shards: Annotated[int, Field(ge=1, le=1024)] | None = None
    update: tagged(UPDATE_RULES, "rule")  # type: ignore[valid-type]
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip_value: Limit | None = None
    clip_norm: Limit | None = None
    schedule: tagged(SCHEDULES, "type") = Constant()  # type: ignore[valid-type]
    warmup_steps: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] = 0
    early_stopping: table(EarlyStopping) | None = None  # type: ignore[valid-type]
    non_finite: Literal["fail", "skip"] = "fail"
    stop_after: Count | None = None

    @model_validator(mode="after")
    def _has_one_length(self) -> Train:
        if (self.epochs is None) == (self.steps is None):
            raise PydanticCustomError("length", "needs either epochs or steps, and not both")
        return self


class Workers(_Section):
    count: Annotated[int, Field(ge=1, le=1024)] = 1
    vectors: Literal["auto", "memory", "frames"] = "auto"
    fingerprint: Literal["strict", "any"] = "strict"


class Snapshots(_Section):
    every_steps: Count | None = None
    every_seconds: Limit = 60.0
    keep: Annotated[int, Field(ge=1, le=1000)] = 2
    location: Location | None = None


class RunSpec(_Section):
    """A whole specification. Types are strict: ``"64"`` is not a number."""

    name: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_check_name)]
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    data: tagged(DATASETS, "type")  # type: ignore[valid-type]
    model: Model
    train: Train
    workers: Workers = Workers()
    snapshots: Snapshots = Snapshots()
    faults: Annotated[list[table(Fault)], Field(max_length=100)] = []  # type: ignore[valid-type]

    # Set by ``within`` and not by users, so no field.
    _roots: SpecRoots = PrivateAttr(default=SpecRoots())

    def within(self, roots: SpecRoots) -> RunSpec:
        """The same specification, whose paths are opened only if they lead into these folders."""
        data = replace(self.data, roots=roots.data) if hasattr(self.data, "roots") else self.data
        spec = self.model_copy(update={"data": data})
        spec._roots = roots
        return spec

    @property
    def roots(self) -> SpecRoots:
        return self._roots

    @property
    def source(self) -> Source:
        source: Source = self.data
        return source

    @property
    def descent(self) -> Descent:
        train = self.train
        return Descent(train.update, train.weight_decay, train.clip_value, train.clip_norm)

    @property
    def layer_types(self) -> list[str]:
        """The layers' names in the specification."""
        return [layer["type"] for layer in self.document()["model"]["layers"]]

    def job(self) -> Job:
        """The part that workers need."""
        layers: list[Layer] = self.model.layers
        loss: Loss = LOSSES[self.model.loss]()
        batch_size = None if self.train.batch_size == "full" else self.train.batch_size
        return Job(self.source, tuple(layers), loss, self.seed, batch_size, self.train.shards)

    def document(self) -> dict[str, Any]:
        """The specification as plain data, as it would stand in TOML."""
        return self.model_dump(exclude_none=True)

"""Section `train`: how the network learns."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from src.params.augment import Augment
from src.params.losses import Loss
from src.params.optimizers import Optimizer
from src.params.schedules import Schedule
from src.params.section import Count, NotNegative, Positive, Section

Processors = Annotated[int, Field(ge=1, le=1024)]  # more has no machine; each takes memory from the start


class Train(Section):
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
    precision: Literal["auto", "float32", "tf32", "bfloat16", "float16"]
    deterministic: Literal[True, "portable", False]
    compile: bool
    threads: Processors
    processes: Processors
    epochs: Count
    patience: Count | None
    batch_size: Count
    accumulate: Count
    loss: Loss
    l1_penalty: NotNegative
    decay_biases: bool
    clip_gradient: Positive | None
    ema: Annotated[float, Field(gt=0, lt=1)] | None
    record_every: Annotated[int, Field(ge=0)]
    optimizer: Optimizer
    schedule: Schedule
    augment: Augment

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.batch_size % (self.processes * self.accumulate):
            raise ValueError(
                f"batch_size must be a multiple of processes × accumulate, not {self.batch_size} / "
                f"({self.processes} × {self.accumulate})"
            )
        if self.deterministic == "portable":
            self._agree_with_portable()
        if self.optimizer.name == "lbfgs":
            self._agree_with_line_search()
        if self.loss.name in ("nll", "multi_margin") and self.augment.mixes:
            raise ValueError(
                f"augment.mixup and augment.cutmix must be 0 with the loss {self.loss.name}: one label only"
            )
        if self.optimizer.name == "rprop" and (self.schedule.name != "constant" or self.schedule.warmup_epochs):
            raise ValueError("rprop adapts its own steps from lr on: schedule must be constant, warmup_epochs 0")
        return self

    def _agree_with_portable(self) -> None:
        """What every x86-64 processor does alike: one thread of the CPU, in float32."""
        wanted: dict[str, tuple[object, ...]] = {
            "device": ("auto", "cpu"),
            "precision": ("auto", "float32"),
            "threads": (1,),
            "processes": (1,),
            "compile": (False,),
        }
        for key, values in wanted.items():
            if getattr(self, key) not in values:
                allowed = " or ".join(str(value).lower() for value in values)
                raise ValueError(f"{key} must be {allowed} with deterministic: portable")

    def _agree_with_line_search(self) -> None:
        """L-BFGS compares losses of one batch at neighbouring weights: they must be exact and the gradient theirs."""
        wanted = {"precision": "float32", "processes": 1, "accumulate": 1, "clip_gradient": None}
        for key, value in wanted.items():
            if getattr(self, key) != value:
                raise ValueError(f"{key} must be {'null' if value is None else value} with the optimizer lbfgs")

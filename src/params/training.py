"""The map `train` of `params.yaml`: loss, optimiser, schedule, augmentation, and the settings of the computation."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from src.params.fields import Ascending, Config, Count, CountOrZero, Fraction, NotNegative, Positive, Share

ClassWeights = Literal["balanced"] | Annotated[list[Positive], Field(min_length=1)] | None


class CrossEntropy(Config):
    name: Literal["cross_entropy"]
    label_smoothing: Share
    class_weights: ClassWeights


class Weighted(Config):
    name: Literal["nll", "multi_margin"]
    class_weights: ClassWeights


class Unweighted(Config):
    name: Literal["bce", "mse", "l1"]


Loss = Annotated[CrossEntropy | Weighted | Unweighted, Field(discriminator="name")]


class Plain(Config):
    """Hold optimisers whose other arguments are torch's defaults."""

    name: Literal["adam", "adamw", "nadam", "radam", "adamax", "adagrad", "adadelta", "asgd"]
    lr: Positive
    weight_decay: NotNegative


class Momentum(Config):
    name: Literal["rmsprop", "muon"]
    lr: Positive
    weight_decay: NotNegative
    momentum: Share


class Sgd(Config):
    name: Literal["sgd"]
    lr: Positive
    weight_decay: NotNegative
    momentum: Share
    nesterov: bool

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class MuonSgd(Config):
    """Hold Muon for the weights of hidden layers, and SGD with Nesterov momentum and its own rates for all others."""

    name: Literal["muon_sgd"]
    lr: Positive
    momentum: Share
    newton_schulz: Annotated[int, Field(ge=1, lt=100)]  # iterations that make an update orthogonal
    bias_lr: Positive  # also for the weights of norm layers
    head_lr: Positive
    sgd_momentum: Annotated[float, Field(gt=0, lt=1)]
    weight_decay: NotNegative  # by SGD, of a step at the full rate
    whitening_share: Annotated[float, Field(gt=0, le=1)]  # of the fall of lr, after which that layer's bias rests


class Rprop(Config):
    name: Literal["rprop"]
    lr: Positive


class Lbfgs(Config):
    name: Literal["lbfgs"]
    lr: Positive
    iterations: Count  # at most, on every batch


Optimizer = Annotated[Plain | Momentum | Sgd | MuonSgd | Rprop | Lbfgs, Field(discriminator="name")]


class Warm(Config):
    warmup_epochs: NotNegative


class Smooth(Warm):
    name: Literal["constant", "cosine", "linear"]


class OneCycle(Config):
    name: Literal["one_cycle"]
    warmup_epochs: Positive  # the rise of the cycle


class Step(Warm):
    name: Literal["step"]
    every: Count
    factor: Positive


class MultiStep(Warm):
    name: Literal["multi_step"]
    at: Annotated[list[Count], Field(min_length=1), Ascending]
    factor: Positive


class Exponential(Warm):
    name: Literal["exponential"]
    factor: Positive


class Plateau(Warm):
    name: Literal["plateau"]
    patience: CountOrZero
    factor: Positive


Schedule = Annotated[Smooth | OneCycle | Step | MultiStep | Exponential | Plateau, Field(discriminator="name")]


def _not_pixels(value: Any) -> Any:
    if isinstance(value, int) and value >= 1:
        raise ValueError("must be a share of the shorter side, at most 0.5: 4 of 32 pixels are 0.125")
    return value


class Rand(Config):
    name: Literal["rand"]
    operations: Annotated[int, Field(ge=1, le=14)]  # one after the other
    magnitude: Fraction  # of the greatest strength


Policy = Literal["trivial"] | Rand


class Augment(Config):
    """Hold the strengths of augmentation; 0, false or null switches one off."""

    flip: bool | Literal["alternate"]
    flip_vertical: bool
    crop: Annotated[float, Field(ge=0, le=0.5), BeforeValidator(_not_pixels)]
    pad: Literal["zeros", "reflect"]
    resized_crop: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=2, max_length=2)] | None
    rotate: Annotated[float, Field(ge=0, le=180)]
    translate: Share
    scale: Share
    shear: Annotated[float, Field(ge=0, lt=90)]
    perspective: Share
    brightness: NotNegative
    contrast: NotNegative
    saturation: NotNegative
    hue: Annotated[float, Field(ge=0, le=0.5)]
    grey: Fraction
    policy: Policy | None
    noise: Fraction
    salt_pepper: Fraction
    erase: Fraction
    mixup: NotNegative
    cutmix: NotNegative

    @property
    def mixes(self) -> bool:
        """Tell if images of a batch get parts of each other."""
        return bool(self.mixup or self.cutmix)

    @property
    def changes(self) -> bool:
        """Tell if an image differs from epoch to epoch."""
        return any(value for key, value in self if key != "pad")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.resized_crop is not None and self.resized_crop[0] > self.resized_crop[1]:
            raise ValueError("resized_crop must name the smaller share of the area first")
        return self


Processors = Annotated[int, Field(ge=1, le=1024)]  # no machine has more


class Train(Config):
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    deterministic: Literal[True, "portable", False]
    compile: bool
    cuda_graph: bool
    threads: Literal["auto"] | Processors
    processes: Processors
    epochs: Count
    patience: Count | None
    batch_size: Count
    drop_last: bool
    sampling: Literal["all", "balanced"]
    accumulate: Count
    loss: Loss
    l1_penalty: NotNegative
    decay_biases: bool
    first_layer_lr: Annotated[float, Field(gt=0, le=1)]
    clip_gradient: Positive | None
    ema: Annotated[float, Field(gt=0, lt=1)] | None
    record_every: CountOrZero
    save_minutes: Positive
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
            # Every x86-64 processor computes the same bits on one thread, in float32.
            one_core = {"device": ("auto", "cpu"), "threads": ("auto", 1), "processes": (1,)}
            self._require("deterministic: portable", **one_core, precision=("auto", "float32"), compile=(False,))
        if self.optimizer.name in ("lbfgs", "rprop", "muon", "muon_sgd"):
            self._require(f"the optimizer {self.optimizer.name}", first_layer_lr=(1.0,))
        if self.optimizer.name == "lbfgs":
            # It compares losses of one batch at neighbouring weights, so losses and gradients must be exact.
            whole = {"precision": ("float32",), "processes": (1,), "accumulate": (1,), "clip_gradient": (None,)}
            self._require("the optimizer lbfgs", **whole)
        if self.loss.name in ("nll", "multi_margin") and self.augment.mixes:
            raise ValueError(
                f"augment.mixup and augment.cutmix must be 0 with the loss {self.loss.name}: one label only"
            )
        if self.sampling == "balanced" and getattr(self.loss, "class_weights", None) == "balanced":
            raise ValueError(
                "sampling and loss.class_weights must not both be balanced: rare classes would count twice"
            )
        if self.optimizer.name == "rprop" and (self.schedule.name != "constant" or self.schedule.warmup_epochs):
            raise ValueError("rprop adapts its own steps from lr on: schedule must be constant, warmup_epochs 0")
        return self

    def _require(self, beside: str, **allowed: tuple[object, ...]) -> None:
        for key, values in allowed.items():
            if getattr(self, key) not in values:
                words = " or ".join("null" if value is None else str(value).lower() for value in values)
                raise ValueError(f"{key} must be {words} with {beside}")

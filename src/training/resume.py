"""Resume a training that was killed: it goes on after its last saved segment and ends with the same bits.

After every epoch, and in long epochs every `train.save_minutes`, the complete state replaces the one before in
`.cache/state/<key>/state.pt`: `kill -9` at any moment leaves the old state or the new one. It holds no random state,
since all randomness is a function of (seed, epoch, segment). The folder is not an output of the stage, since DVC
deletes those before it runs the stage.
"""

import io
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm import tqdm

from src.compute import distributed
from src.core.files import replacing, write_text
from src.core.paths import states
from src.training.epoch import Epoch, Errors
from src.training.snapshots import Snapshots
from src.training.states import FINISHED, discard_unneeded_states
from src.training.step import TrainStep


@dataclass
class Unfinished:
    """Hold what an epoch has come to at the end of its last finished segment."""

    number: int  # of the epoch, from 1
    segments: int = 0  # finished
    steps: int = 0  # done in this epoch
    images: int = 0  # learned so far, by all processes together
    # float32 (2,) on the device: sum of the losses, and number of correct answers
    sums: Tensor = field(default_factory=lambda: torch.zeros(2))
    recorded: tuple[int, int] = (0, 0)  # correct answers and images at the last record
    records: list[Errors] = field(default_factory=list)


class Progress:
    """Hold the finished epochs of a training, its best weights, and what the unfinished epoch has come to."""

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.best_weights: Mapping[str, Any] | None = None  # on the CPU; None without validation images
        self.unfinished = Unfinished(1)
        self.on_segment: Callable[[], None] = lambda: None  # called after each segment but the last of an epoch
        self._train_step: TrainStep | None = None
        self._restored: dict[str, Any] | None = None  # the state of the train step, until there is one

    @property
    def losses(self) -> list[float]:
        """Return the validation losses, which the plateau schedule looks at."""
        return [epoch.validation_loss for epoch in self.epochs if epoch.validation_loss is not None]

    @property
    def best_epoch(self) -> int:
        """Return the number of the best epoch; 0 before the first."""
        return max((epoch.number for epoch in self.epochs if epoch.best), default=0)

    def start(self, train_step: TrainStep) -> None:
        """Follow this train step, and give it the restored state if there is one."""
        self._train_step = train_step
        if self._restored is not None:
            train_step.restore(self._restored)

    def is_best(self, loss: float | None, accuracy: float | None) -> bool:
        """Tell if an epoch with this validation is better than all before; without validation every epoch is."""
        if accuracy is None or loss is None or not self.best_epoch:
            return True
        best = self.epochs[self.best_epoch - 1]
        return (accuracy, -loss) > (best.validation_accuracy or 0.0, -(best.validation_loss or 0.0))

    def add(self, epoch: Epoch) -> None:
        """Take in an epoch that has just finished. If it is the best one, copy its weights, since training goes on."""
        self.epochs.append(epoch)
        self.unfinished = Unfinished(epoch.number + 1)
        if epoch.best and epoch.validation_accuracy is not None and self._train_step is not None:
            self.best_weights = copy_to_cpu(self._train_step.kept.state_dict())

    def state(self) -> dict[str, Any]:
        """Return all of it as plain containers and tensors on the CPU, which training does not change any more."""
        return {
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "unfinished": copy_to_cpu(asdict(self.unfinished)),
            "best_weights": self.best_weights,
            "train_step": None if self._train_step is None else copy_to_cpu(self._train_step.state()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned in another process, before training starts."""
        for epoch in state["epochs"]:
            self.epochs.append(Epoch(**epoch | {"steps": [Errors(**record) for record in epoch["steps"]]}))
        unfinished = state["unfinished"]
        records = [Errors(**record) for record in unfinished["records"]]
        self.unfinished = Unfinished(**unfinished | {"records": records})
        self.best_weights, self._restored = state["best_weights"], state["train_step"]


def copy_to_cpu(value: Any) -> Any:
    """Return nested containers with every tensor copied to the CPU, in the same layout in memory."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: copy_to_cpu(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copy_to_cpu(entry) for entry in value)
    return value


class Resumable:
    """Restore `progress` and `snapshots` as a killed training with the same key left them, then save them regularly.

    key: digest of everything on which the result depends; minutes: how often the state is saved within an epoch;
    session: a name for the training, by which its MLflow run is found.
    """

    def __init__(self, key: str, progress: Progress, snapshots: Snapshots, minutes: float) -> None:
        self.session = uuid.uuid4().hex
        self.folder = states() / key
        self._file = self.folder / "state.pt"
        self._progress, self._snapshots = progress, snapshots
        self._minutes = minutes

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Restore the state, and let other processes with this key wait until the end of the block.

        A state whose model DVC has recorded is removed first: running that stage again means training again.
        """
        lock = FileLock(self.folder.with_suffix(".lock"))
        states().mkdir(parents=True, exist_ok=True)
        try:
            held = lock.acquire(blocking=False)
        except Timeout:
            print("the same training runs in another process: waiting for its end", file=sys.stderr, flush=True)
            held = lock.acquire()
        with held:
            discard_unneeded_states()
            self.restore(self._file.read_bytes() if self._file.is_file() else None)
            unfinished = self._progress.unfinished
            if unfinished.segments:
                print(f"going on in epoch {unfinished.number}, after {unfinished.images:,} images")
            elif unfinished.number > 1:
                print(f"going on after epoch {unfinished.number - 1}, which an interrupted training had finished")
            yield

    def restore(self, content: bytes | None = None) -> None:
        """Restore the state that process 0 has read, its `content`, in all processes that train together."""
        content = distributed.broadcast(content)
        if content is not None:
            state = torch.load(io.BytesIO(content), weights_only=True)
            self.session = state["session"]
            self._progress.restore(state["progress"])
            self._snapshots.taken = state["snapshots"]

    def follow(self, epochs: Iterator[Epoch], log: Callable[[Epoch], None]) -> None:
        """Train to the end. While the next epoch runs, write the state of the last one, then call `log` with it.

        `log` is called again for all epochs before a kill, which may have come between the two.
        """
        for epoch in self._progress.epochs:
            log(epoch)
        written: Future[None] | None = None
        last = time.monotonic()

        def keep(epoch: Epoch | None) -> None:
            nonlocal written, last
            progress, snapshots = self._progress.state(), list(self._snapshots.taken)
            state = {"session": self.session, "progress": progress, "snapshots": snapshots}
            if written is not None:
                written.result()  # the disk may be slower than the epochs
            written, last = writer.submit(self._write, state, epoch, log), time.monotonic()

        def keep_now_and_then() -> None:
            if time.monotonic() - last >= 60 * self._minutes:
                keep(None)

        self._progress.on_segment = keep_now_and_then
        with ThreadPoolExecutor(1, "state") as writer:
            for epoch in epochs:
                self._snapshots.take(epoch.number)
                keep(epoch)
        if written is not None:
            written.result()

    def _write(self, state: dict[str, Any], epoch: Epoch | None, log: Callable[[Epoch], None]) -> None:
        content = io.BytesIO()  # where torch itself writes to disk, a full one is not an OSError
        torch.save(state, content)
        with replacing(self._file) as temporary:
            temporary.write_bytes(content.getbuffer())
        if epoch is not None:
            log(epoch)
            tqdm.write(str(epoch))

    def finish(self, model_md5: str) -> None:
        """Note the model that came out. The state stays until `dvc.lock` holds it: a kill before loses nothing."""
        write_text(self.folder / FINISHED, f"{model_md5} {self.session}")

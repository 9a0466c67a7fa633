"""Commands of the repository in processes forked from one that has imported everything: imports are most of their time.

Started as a program it takes requests from its standard input, and forks for each; `Forked` is who asks.
"""

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self
from unittest.mock import Mock

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("download", "split", "train", "evaluate", "visualize")
CHECKING = ("src.params", *(f"stages.{name}" for name in STAGES))  # each of them checks the whole of params.yaml
LIMIT = 500  # seconds of one command


def prepare(*modules: str) -> None:
    """Import, before the first fork, these modules, the tracking client, what logs a model, and timm."""
    import torch

    from src.tracking.store import quieten

    torch.set_num_threads(1)  # no threads before a fork
    quieten()
    tracking = ("mlflow.pytorch", "mlflow.pyfunc", "mlflow.store.tracking.sqlalchemy_store", "alembic.command")
    for module in (*tracking, "torch.export", "torch._dynamo", "timm", *modules):
        importlib.import_module(module)
    gc.freeze()  # or every child would copy what it looks through


def run(folder: Path, line: str, environment: Mapping[str, str], live: bool) -> tuple[int, str]:
    """Return exit code and output of `python -m <line>` in the folder."""
    module, *arguments = line.split()
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if not child:
            _become(folder, [module, *arguments], environment, live, output.fileno())
        _, status = os.waitpid(child, 0)
        output.seek(0)
        return os.waitstatus_to_exitcode(status), output.read().decode(errors="replace")


def _become(folder: Path, words: Sequence[str], environment: Mapping[str, str], live: bool, output: int) -> None:
    code = 1
    try:
        import stages
        from src.core.errors import command

        if not live:
            importlib.import_module("src.tracking.live").Live = Mock()  # type: ignore[attr-defined]
        signal.alarm(LIMIT)
        for number in (1, 2):
            os.dup2(output, number)
        sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
        sys.argv[:] = words
        os.chdir(folder)
        os.environ.update(environment)
        module = importlib.import_module(words[0] if words[0] != "src.params" else "src.params.__main__")
        (stages.run if words[0].startswith("stages.") else command)(module.main)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


class Forked:
    """Run the stages in any folder, in forks of a process that has imported them."""

    def __enter__(self) -> Self:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, folder: Path, line: str, expected: int = 0, live: bool = False, **environment: str) -> str:
        """Return the output of `python -m <line>` in the folder, which must end with the expected exit code.

        live: a training is shown in MLflow while it goes on, by a process that takes two seconds to import it.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([str(folder), line, environment, live]), file=self._process.stdin, flush=True)
        code, output = json.loads(self._process.stdout.readline())
        assert code == expected, output
        return str(output)


def main() -> None:
    sys.path.insert(0, str(ROOT))
    prepare(*CHECKING)
    for request in sys.stdin:
        folder, line, environment, live = json.loads(request)
        print(json.dumps(run(Path(folder), line, environment, live)), flush=True)
    sys.stdout.flush()
    os._exit(0)  # a clean end would tell of leaks in what torch imports


if __name__ == "__main__":
    main()

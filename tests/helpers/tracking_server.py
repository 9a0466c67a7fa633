"""A real MLflow server on a free port of this machine, which can be killed or be silent."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests


class Server:
    """Its store and artifacts lie in `folder`, so that it may be started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return once it answers."""
        command = [sys.executable, __file__, str(self.folder), str(self.port)]
        with (self.folder / "server.txt").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        for _ in range(1200):
            assert self._process.poll() is None, (self.folder / "server.txt").read_text()
            try:
                requests.get(f"{self.uri}/health", timeout=5).raise_for_status()
                return
            except requests.ConnectionError:
                time.sleep(0.1)
        raise TimeoutError("the server does not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def killed(self) -> Iterator[None]:
        """Be gone in the block; afterwards work again."""
        self.kill()
        yield
        self.start()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Answer nothing in the block; afterwards work again."""
        (self.folder / "silent").touch()
        yield
        (self.folder / "silent").unlink()


def main(folder: Path, port: int) -> None:
    os.environ |= {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    from mlflow.server import app
    from werkzeug.serving import make_server

    def silenced(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if (folder / "silent").exists():
            time.sleep(60)
            return []
        return app(environ, start_response)

    make_server("127.0.0.1", port, silenced, threaded=True).serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

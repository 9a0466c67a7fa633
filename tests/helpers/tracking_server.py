"""A real MLflow server on a free port of this machine, which can be killed, be silent, or answer 500."""

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
    def trouble(self, kind: str) -> Iterator[None]:
        """Be killed, silent, or answer 500, in the block; afterwards work again."""
        if kind == "killed":
            self.kill()
            yield
            self.start()
        else:
            (self.folder / "trouble").write_text(kind)
            yield
            (self.folder / "trouble").unlink()


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

    def troubled(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        kind = (folder / "trouble").read_text() if (folder / "trouble").exists() else ""
        if kind == "silent":
            time.sleep(60)
        if kind:
            start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
            return [b"trouble"]
        return app(environ, start_response)

    make_server("127.0.0.1", port, troubled, threaded=True).serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

"""A server of a small model in a thread of the test, and what is asked of it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
import uvicorn
from prediction_samples import make_model

from src.core.paths import MODEL
from src.data.prepared import ImageFormat
from src.prediction.model import Model, load
from src.prediction.serving import Limits, application

COLOUR = ImageFormat(height=24, width=24, channels=3, resize="crop")


@contextmanager
def served(model: Model, limits: Limits = Limits()) -> Iterator[str]:  # noqa: B008
    """Yield the address of a server of this process."""
    app = application(model, "photos", "0" * 32, limits)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def small(image: ImageFormat = COLOUR) -> Model:
    make_model(image, ["cat", "dog"])
    return load(str(MODEL))


def post(url: str, content: bytes, query: str = "") -> Any:
    answer = requests.post(f"{url}/predict{query}", data=content, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()

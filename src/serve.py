"""Serve a model: a page on which you drop a photo, and `POST /predict` for programs.

    python -m src.serve
    python -m src.serve --model models:/digits@champion --port 8080
    curl --data-binary @photo.jpg http://127.0.0.1:8000/predict

`POST /predict` takes a photo of any size as its body. It answers with JSON: the five most probable classes and their
probabilities. `?top=3` asks for so many, `?coverage=0.95` lists those that are possible, and `?explain=true` adds a
picture of what the decision rests on. Ctrl-C ends the server. With CUDA_VISIBLE_DEVICES set to an empty text the
processor computes.
"""

import argparse
import hashlib
import os
import socket
import warnings
from contextlib import suppress

if __name__ == "__main__":
    # Torch reads it when it is imported. By default its threads wait in busy loops, and take the processors from the
    # threads that decode photos: on two busy cores an answer took 3 to 10 times as much processor time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from src.core.errors import UserError, command
from src.core.paths import MODEL
from src.models.classifier import Classifier
from src.models.model_file import content
from src.prediction.model import load

_CONNECTIONS = 64  # at a time; uvicorn refuses more with 503


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default=str(MODEL), help="a file, models:/NAME@champion, or a run's id (default: %(default)s)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes any free port (default: %(default)s)")
    parser.add_argument("--max-mib", type=float, default=16, metavar="MIB", help="most MiB of a request (default: 16)")
    arguments = parser.parse_args()
    if not 0 < arguments.max_mib < float("inf"):
        raise UserError(f"--max-mib is {arguments.max_mib:g}: must be above 0, and a number")
    if not 0 <= arguments.port < 2**16:
        raise UserError(f"--port is {arguments.port}: must be 0 to {2**16 - 1}")

    # Imported once the command line is known to be right.
    import uvicorn

    from src.prediction.serving import application

    model = load(arguments.model)
    model.module.to(memory_format=torch.channels_last)
    classifier = model.module.get_submodule("classifier")
    assert isinstance(classifier, Classifier)
    md5 = hashlib.md5(content(classifier, model.spec), usedforsecurity=False).hexdigest()
    app = application(model, arguments.model, md5, int(arguments.max_mib * 2**20))
    warnings.filterwarnings("ignore", module="PIL")  # about odd metadata of photos
    family = socket.AF_INET6 if ":" in arguments.host else socket.AF_INET
    try:
        listening = socket.create_server((arguments.host, arguments.port), family=family)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"{arguments.host}, port {arguments.port}: {reason}: name others by --port and --host"
        ) from None
    settings = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        limit_concurrency=_CONNECTIONS + 1,  # the one that asks counts, too
        timeout_graceful_shutdown=5,
    )
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    address = f"http://{host}:{listening.getsockname()[1]}"
    print(f"{arguments.model} ({model.spec.model.name}, MD5 {md5}) at {address}", flush=True)
    with listening, suppress(KeyboardInterrupt):  # Ctrl-C and SIGTERM are how a server ends
        uvicorn.Server(settings).run(sockets=[listening])


if __name__ == "__main__":
    command(main)

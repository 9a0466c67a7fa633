"""`src.serve` against `mlflow models serve`: ResNet-18 on photos of 224×224, with random weights.

    python -m benchmarks.serving

Both servers run all the time, one process each, and are asked in turns; the clients are threads on the same processors.
Ours gets JPEG files and decodes them. MLflow's takes pixels: the JSON with them is made before the clock starts, to its
advantage, and its threads sleep while they wait, as ours do, which saves much on busy processors. Adds answers per
second, latencies and processor time to `benchmarks/serving.json`; prints them as a table.
"""

import http.client
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

import numpy as np
import psutil
import requests
import torch
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from benchmarks.common import hardware, keep, versions
from src import params
from src.data.images import Fit, decode
from src.data.prepared import ImageFormat
from src.models.classifier import Probabilities
from src.models.file import ModelSpec, save
from src.tracking.model import export_model

RESULTS = Path("benchmarks/serving.json")
PHOTOS = Path("../shared/datasets/dogs-vs-cats.tar")
OURS, THEIRS = 8123, 8124  # ports
CLIENTS, SECONDS = (1, 8, 32), 6
NETWORK = {"name": "resnet18", "weights": "none", "freeze": False, "activation": None, "dropout": 0.0}


def main() -> None:
    with tarfile.open(PHOTOS) as archive:
        files = (archive.extractfile(member) for member in archive)
        photos = [file.read() for file in islice(files, 0, 1600, 100) if file]
    pixels = np.stack([decode(photo, Fit(224, 224, "squash")) for photo in photos])
    prepared = [json.dumps({"inputs": [each.tolist()]}).encode() for each in pixels]
    torch.manual_seed(0)
    network = params.Model.model_validate(NETWORK | {"normalize": "dataset"})
    image = ImageFormat(height=224, width=224, channels=3, resize="squash")
    spec = ModelSpec(model=network, classes=["cat", "dog"], image=image, mean=[0.5] * 3, std=[0.25] * 3)
    classifier = spec.build().eval()
    with tempfile.TemporaryDirectory() as folder:
        model, graph = Path(folder, "model.safetensors"), Path(folder, "graph")
        save(model, classifier, spec)
        export_model(graph, Probabilities(classifier), pixels, model)
        serve = [sys.executable, "-m", "src.serve", "--model", str(model), "--port", str(OURS)]
        mlflow = [str(Path(sys.executable).with_name("mlflow")), "models", "serve", "-m", str(graph), "-w", "1"]
        mlflow += ["-p", str(THEIRS), "--env-manager", "local"]
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        null = subprocess.DEVNULL
        servers = [psutil.Popen(line, stdout=null, stderr=null, start_new_session=True) for line in (serve, mlflow)]
        try:
            with requests.Session() as session:
                session.mount("http://", HTTPAdapter(max_retries=Retry(connect=8, backoff_factor=0.5)))
                session.get(f"http://127.0.0.1:{OURS}/healthz").raise_for_status()
                session.get(f"http://127.0.0.1:{THEIRS}/ping").raise_for_status()
            print("| clients | server | answers/s | median ms | 99 % within ms | processor ms |")
            print("|---|---|---|---|---|---|")
            for clients in CLIENTS:
                measure("src.serve", servers[0], OURS, "/predict", photos, clients)
                measure("mlflow models serve", servers[1], THEIRS, "/invocations", prepared, clients)
        finally:
            for server in servers:
                os.killpg(server.pid, 15)
                server.wait()


def measure(name: str, server: psutil.Popen, port: int, path: str, bodies: list[bytes], clients: int) -> None:
    """Ask over `clients` connections, one request after the other on each; keep and print rate and latencies."""

    def ask(number: int) -> list[float]:
        latencies: list[float] = []
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while (started := time.perf_counter()) < until:
            body = bodies[(number + len(latencies)) % len(bodies)]
            connection.request("POST", path, body, {"Content-Type": "application/json"})  # ours takes any for a photo
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text
            latencies.append(time.perf_counter() - started)
        connection.close()
        return latencies

    def busy() -> float:
        times = [process.cpu_times() for process in [server, *server.children(recursive=True)]]
        return float(sum(each.user + each.system for each in times))

    for seconds in (1, SECONDS):  # the first one warms up
        begun, used = time.perf_counter(), busy()
        until = begun + seconds
        with ThreadPoolExecutor(clients) as pool:
            found = list(chain.from_iterable(pool.map(ask, range(clients))))
        took, used = time.perf_counter() - begun, busy() - used
    p50, p99 = np.quantile(found, [0.5, 0.99])
    numbers = {"per_second": len(found) / took, "p50_ms": 1000 * p50, "p99_ms": 1000 * p99}
    numbers = {key: round(float(value), 1) for key, value in numbers.items()}
    numbers["processor_ms"] = round(1000 * used / len(found), 1)
    where = {"load": os.getloadavg()[0], "hardware": hardware(), "versions": versions("torch", "mlflow", "fastapi")}
    keep(RESULTS, {"server": name, "clients": clients, **numbers, **where}, same=("server", "clients"))
    print(f"| {clients} | `{name}` | " + " | ".join(map(str, numbers.values())) + " |", flush=True)


if __name__ == "__main__":
    main()

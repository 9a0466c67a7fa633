"""Nothing that others wrote is run, and no secret is shown: what ruff does not see, and a look through what is left."""

import http.server
import re
import secrets
import threading
from functools import partial
from pathlib import Path

import pytest
from clones import committed, copy_of_the_repository, own_files, set_params
from data_samples import class_folders, pack_tar
from forked import Forked

# What ruff's rules do not see: pyproject.toml has them.
LOOSE = re.compile(r"allow_pickle=(?!False)|weights_only=(?!True)|\bYAML\((?!typ=.(safe|rt))|\b(import|from) pickle\b")
PICKLE = "src/data/known.py"  # CIFAR's own files, after their checksum, and nothing but arrays


def test_nothing_that_others_wrote_is_run() -> None:
    files = [file for folder in ("src", "stages", "benchmarks", ".ci") for file in sorted(Path(folder).rglob("*.py"))]
    found = {str(file): LOOSE.findall(file.read_text(encoding="utf-8")) for file in files}
    assert {file for file, loose in found.items() if loose} == {PICKLE}


def test_servers_listen_on_loopback_only() -> None:
    texts = {name: Path(name).read_bytes() for name in own_files() if not name.startswith("requirements")}
    everywhere = re.compile(
        rb"0\.0\.0\.0|--host[ =](?!127\.0\.0\.1)|Server\(\(\s*['\"](?!127\.0\.0\.1)|bind\(\(['\"](?!127)"
    )
    exempt = {"tests/test_hostile.py", "Dockerfile"}  # a container's own loopback cannot be published
    assert [name for name, text in texts.items() if name not in exempt and everywhere.search(text)] == []


SECRET = secrets.token_hex(8)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
def test_no_secret_of_an_address_is_shown(tmp_path: Path, forked: Forked) -> None:
    """One in every setting that holds an address: neither in what is printed nor in what is written, `params.yaml`
    excepted, where the user wrote it."""
    clone = committed(copy_of_the_repository(tmp_path / "clone"))
    (tmp_path / "served").mkdir()
    pack_tar(tmp_path / "served" / "photos.tar", class_folders({"a": 12, "b": 12}))
    params = clone / "params.yaml"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "served")) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        login, query = f"me:{SECRET}@127.0.0.1", f"?token={SECRET}"
        good, refused = f"http://{login}:{server.server_port}/photos.tar{query}", f"http://{login}:9/x{query}"
        changes = {"data.name": "image_folder", "data.image_size": 8, "train.epochs": 1, "visualize.samples": 4}
        set_params(clone, changes | {"data.source": f"s3://{login}/x{query}"})
        shown = forked.run(clone, "stages.download", 2)
        set_params(clone, {"data.source": good})
        for command, code in {
            "stages.download": 0,
            "stages.split": 0,
            "stages.train": 0,
            "stages.evaluate": 0,
            "stages.visualize": 0,
            "src.summary": 0,
            "src.report --base HEAD": 0,
            "src.report --base HEAD --html": 0,
            "src.predict data/images --model models:/a@b": 2,
            f"src.track show {'0' * 32}": 2,
            "src.promote": 2,
            f"src.tune --trials 1 --storage postgresql://{login}:9/x{query}": 2,
        }.items():
            # As a stage, a search leaves the data to DVC, whose lock has the parameters as they are.
            variables = {"MLFLOW_TRACKING_URI": refused, "NO_PROXY": "127.0.0.1"}
            variables |= {"DVC_STAGE": "tune"} if "tune" in command else {}
            shown += forked.run(clone, command, code, live=True, **variables)
        server.shutdown()
    assert SECRET not in shown, next(line for line in shown.splitlines() if SECRET in line)
    written = [path for path in clone.rglob("*") if path.is_file() and not path.is_symlink() and path != params]
    assert {"index.html", "dvc.yaml"} <= {path.name for path in written}
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []

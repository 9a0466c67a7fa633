"""Nothing that others wrote is run, and no secret is shown: by the code's form, and by looking through what is left."""

import ast
import http.server
import re
import secrets
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from clones import committed, copy_of_the_repository, own_files, set_params
from data_samples import class_folders, pack_tar
from forked import Forked

FILES = [file for folder in ("src", "stages", "benchmarks", ".ci") for file in sorted(Path(folder).rglob("*.py"))]

# Who may use what can run code, and why.
ALLOWED = {
    "pickle": {"src/data/formats.py": "CIFAR's own files, after their checksum"},
    "torch.export.load": {"src/tracking/model.py": "the graph that it wrote itself"},
    "ruamel.yaml.YAML": {
        "src/core/documents.py": "safe",
        "src/params/writing.py": "the repository's own recipes, and what src.params has read before",
        "benchmarks": "the repository's own files",
    },
}
NEVER_IMPORTED = {"cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml", "commands", "pty"}
NEVER_CALLED = re.compile(
    r"eval|exec|compile|__import__|os\.(system|popen|exec\w*|spawn\w*)|subprocess\.(getoutput|getstatusoutput)"
    r"|torch\.(hub|jit)\.load|mlflow\.\w+\.load_model|pandas\.read_pickle|\w+\.extractall|shutil\.unpack_archive"
)


def names(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for, with its modules."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name.partition(".")[0]: (alias.asname and alias.name) or
                      alias.name.partition(".")[0] for alias in node.names}  # fmt: skip
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def spelled(node: ast.expr, known: dict[str, str]) -> str:
    """`np.load` as `numpy.load`."""
    if isinstance(node, ast.Attribute):
        return f"{spelled(node.value, known)}.{node.attr}"
    return known.get(node.id, node.id) if isinstance(node, ast.Name) else "_"


def breaches(source: str, file: str) -> Iterator[str]:
    """What the source does that could run what others wrote."""
    tree = ast.parse(source)
    known = names(tree)
    imported = {name.partition(".")[0] for name in known.values()}
    yield from (f"imports {name}" for name in sorted(imported & NEVER_IMPORTED))
    if "pickle" in imported and file not in ALLOWED["pickle"]:
        yield "imports pickle"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = spelled(node.func, known)
        options = {option.arg: option.value for option in node.keywords}
        values = {name: value.value for name, value in options.items() if isinstance(value, ast.Constant)}
        if NEVER_CALLED.fullmatch(called) and not (called.endswith("extractall") and values.get("filter") == "data"):
            yield f"calls {called}"
        if called == "torch.load" and values.get("weights_only") is not True:
            yield "torch.load without weights_only=True"
        if called == "numpy.load" and "allow_pickle" in options and values.get("allow_pickle") is not False:
            yield "numpy.load with pickles"
        if called in ("torch.export.load", "ruamel.yaml.YAML"):
            allowed = {file, file.partition("/")[0]} & ALLOWED[called].keys()
            if not allowed or values.get("typ", "safe") not in ("safe", "rt"):
                yield f"calls {called}"
        if called in ("pickle.load", "pickle.loads"):
            yield f"calls {called}"
        if "shell" in options:
            yield "a shell"
        if values.get("verify") is False:
            yield "TLS without looking at the certificate"
        if called.startswith("subprocess.") and node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr):
            yield "a command that is not a list"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_nothing_that_others_wrote_is_run(file: Path) -> None:
    assert list(breaches(file.read_text(encoding="utf-8"), file.as_posix())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "from torch import load\nload(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import numpy as np\nnp.load(path, allow_pickle=chosen)",
        "import pickle",
        "from pickle import loads",
        "import joblib",
        "import yaml",
        "from ruamel.yaml import YAML\nYAML()",
        "import mlflow\nmlflow.pytorch.load_model(uri)",
        "import mlflow.pyfunc\nmlflow.pyfunc.load_model(uri)",
        "import torch\ntorch.export.load(path)",
        "import os\nos.system(command)",
        "import subprocess\nsubprocess.run(command, shell=True)",
        "import subprocess as s\ns.run(f'dvc {name}')",
        "eval(text)",
        "import requests\nrequests.get(url, verify=False)",
        "import tarfile\ntarfile.open(path).extractall()",
    ],
)
def test_the_rules_see_what_they_are_for(source: str) -> None:
    assert list(breaches(source, "src/x.py"))


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
        changes = {"data.name": "image_folder", "data.image_size": 8, "train.epochs": 1}
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
            "src.track verify": 2,
            "src.promote": 2,
            f"src.tune --trials 1 --storage postgresql://{login}:9/x{query}": 2,
        }.items():
            # As a stage, a search leaves the data to DVC, whose lock has the parameters as they are.
            stage = {"DVC_STAGE": "tune"} if "tune" in command else {}
            shown += forked.run(clone, command, code, MLFLOW_TRACKING_URI=refused, NO_PROXY="127.0.0.1", **stage)
        server.shutdown()
    assert SECRET not in shown, next(line for line in shown.splitlines() if SECRET in line)
    written = [path for path in clone.rglob("*") if path.is_file() and not path.is_symlink() and path != params]
    assert {"index.html", "dvc.yaml"} <= {path.name for path in written}
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []

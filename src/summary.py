"""Say what the pipeline found, in a few lines: numbers, what changed, figures, and the run, which is completed first.

python -m src.summary
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from src.compute import portable
from src.core.addresses import without_credentials
from src.core.documents import keys, read_json, read_object, read_yaml
from src.core.errors import UserError, command
from src.core.git import read_source
from src.core.paths import DATASET, ENVIRONMENT, FIGURES, LOCK, METRICS, PARAMS, TRAINING, main_root
from src.evaluation import measured
from src.tracking import history
from src.tracking.store import database

_NAMED = 3  # changed numbers that are named, of each file


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    metrics, training = read_object(METRICS), read_object(TRAINING)
    rows = [
        ("test accuracy", measured.accuracy_sentence(measured.read())),
        ("validation accuracy", _validation(training)),
    ]
    rows.append(("computed on", _computed()))
    rows += [("since the commit", line) for line in _changes({METRICS: metrics, TRAINING: training})]
    if FIGURES.is_dir():
        rows.append(("figures", f"{len(list(FIGURES.glob('*.png')))} pictures in {FIGURES}/"))
    rows += _run()
    last = ""
    for label, text in rows:
        print(f"{'' if label == last else label:<20}{text}")
        last = label


def _validation(training: Mapping[str, Any]) -> str:
    if training["validation_accuracy"] is None:
        return f"none: there are no validation images; the weights of epoch {training['epochs']}, the last, are kept"
    kept = f"epoch {training['best_epoch']} of {training['epochs']}"
    return f"{100 * training['validation_accuracy']:.2f} %  ({kept})"


def _computed() -> str:
    """The device, and why that is the CPU even beside a GPU."""
    environment = read_object(ENVIRONMENT)
    where = ", ".join(str(environment[key]) for key in ("device", "precision") if key in environment)
    reason = "  (train.deterministic is portable; other recipes use CUDA where there is one)"
    return f"{where}{reason if portable.wanted() else ''}"


def _changes(now: Mapping[Path, Mapping[str, Any]]) -> Iterator[str]:
    """Yield how the numbers differ from the committed ones, and why; nothing where there is no git or no commit."""
    source = read_source()
    if source.commit == "none":
        return
    contents = {path: _committed(path) for path in now}
    if None in contents.values():
        yield "no numbers are committed yet"
        return
    before: dict[Path, dict[str, Any]] = {}
    for path, content in contents.items():
        try:
            before[path] = keys(read_json(content or b""))
        except ValueError as error:
            yield f"the committed {path} cannot be read ({error}): commit the present one"
    if len(before) < len(now):
        return
    changed = {path: _differences(before[path], now[path]) for path in now}
    if not any(changed.values()):
        yield "the numbers are the committed ones"
        return
    for path, lines in changed.items():
        if lines:
            more = f" and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
            yield f"{path}: {', '.join(lines[:_NAMED])}{more}"
    inputs = {
        "params.yaml": _values(_committed(PARAMS)) != _values(_present(PARAMS)),
        "code": source.modified == "true",
        "data": _data(_committed(LOCK)) != _data(_present(LOCK)),
    }
    if any(inputs.values()):
        yield f"what differs: {', '.join(name for name, differs in inputs.items() if differs)}"
        return
    try:
        elsewhere = _differences(keys(read_json(_committed(ENVIRONMENT) or b"{}")), read_object(ENVIRONMENT))
    except ValueError as error:
        elsewhere = [f"the committed one cannot be read ({error})"]
    what = ", ".join(elsewhere) or "nothing in it differs, so it is the processor or its libraries"
    yield f"parameters, code and data do not differ; {ENVIRONMENT} explains it: {what}"


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`accuracy 0.98 → 0.97` for every key whose value is another, is new, or is gone."""
    keys = list(dict.fromkeys([*now, *before]))
    pairs = ((key, before.get(key), now.get(key)) for key in keys)
    return [f"{key} {_shown(old)} → {_shown(new)}" for key, old, new in pairs if old != new]


def _shown(value: object) -> str:
    """A number that is absent and one that is null (no validation images) are the same to a reader."""
    return "none" if value is None else str(value)


def _committed(path: Path) -> bytes | None:
    """None where it is in no commit."""
    return history.contents(["HEAD"], path)[0]


def _present(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _values(params: bytes | None) -> Any:
    """Return what a `params.yaml` says; of one that is damaged, its text."""
    try:
        return read_yaml(params or b"")
    except ValueError:
        return params


def _data(lock: bytes | None) -> str | None:
    """The digest of the prepared data set that a `dvc.lock` holds."""
    return history.outputs(history.stages(lock or b""), ["split"]).get(DATASET.as_posix())


def _run() -> Iterator[tuple[str, str]]:
    from src.tracking.sync import complete  # and with it numpy and more, after the numbers

    try:
        run = complete()
    except UserError as error:
        yield "run", f"not in MLflow, or not complete: {error}"
        return
    yield "run", f"{run.name} ({run.run_id})"
    # Without the last part MLflow shows its pages for language models.
    page = f"#/experiments/{run.experiment_id}/runs/{run.run_id}?workflowType=machine_learning"
    uri = without_credentials(run.uri)
    if uri.startswith(("http://", "https://")):
        yield "see it", f"{uri.rstrip('/')}/{page}"
        return
    if database(run.uri) == main_root() / "mlflow.db":
        uri = "sqlite:///mlflow.db"
    # That one is MLflow's own default, unless runs of older versions lie in `mlruns/`.
    default = uri == "sqlite:///mlflow.db" and not Path("mlruns").is_dir()
    server = "mlflow ui" if default else f"mlflow ui --backend-store-uri '{uri}'"
    yield "see it", f"{server}, then http://127.0.0.1:5000/{page}"


if __name__ == "__main__":
    command(main)

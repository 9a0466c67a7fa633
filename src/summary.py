"""Print in a few lines what the last run of the pipeline reached and what is stale since; complete its run in MLflow.

python -m src.summary
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.compute import portable
from src.core.addresses import without_credentials
from src.core.documents import read_object
from src.core.errors import UserError, command
from src.core.git import CodeState, read_code_state
from src.core.paths import DATASET, ENVIRONMENT, FIGURES, PER_CLASS, TRAINING, main_root
from src.core.words import counted, listed
from src.evaluation import metric_files
from src.tracking.store import database

if TYPE_CHECKING:
    from src.review.revision import Revision


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    last = ""
    for label, text in _rows():
        print(f"{'' if label == last else label:<20}{text}", flush=True)
        last = label


def _rows() -> Iterator[tuple[str, str]]:
    """Yield labels and texts. What imports slow packages comes last."""
    metrics, training = metric_files.read(), read_object(TRAINING)  # before a line of what may be an earlier run
    yield "test accuracy", metric_files.accuracy_sentence(metrics)
    if metrics["images"]:
        name, share = _largest_class()
        if metrics["accuracy_ci_low"] <= share:
            yield "test accuracy", f"which may be luck: always answering {name!r} reaches {100 * share:.2f} %"
    yield "validation accuracy", _validation(training)
    yield "computed on", _computed()
    code = read_code_state()
    if code.commit != "none":
        from src.review.revision import working_tree  # which imports pandas

        now = working_tree()
        if stages := _stale(now):
            yield "stale", f"{stages}: run dvc repro"
        try:
            changes = list(_changes(code, now))
        except UserError as error:  # a committed file is damaged
            changes = [f"not known: {error}"]
        yield from (("since the commit", line) for line in changes)
    if figures := list(FIGURES.glob("*.png")):
        yield "figures", f"{counted(len(figures), 'picture')} in {FIGURES}/"
    yield from _run()


def _largest_class() -> tuple[str, float]:
    """Return the class that most test images have, and their share."""
    from src.evaluation import tables  # which imports pandas

    images = tables.read(PER_CLASS, "class", "images").set_index("class")["images"]
    return str(images.idxmax()), float(images.max() / images.sum())


def _validation(training: Mapping[str, Any]) -> str:
    if training["validation_accuracy"] is None:
        return f"none: there are no validation images; the weights of epoch {training['epochs']}, the last, are kept"
    kept = f"epoch {training['best_epoch']} of {training['epochs']}"
    return f"{100 * training['validation_accuracy']:.2f} %  ({kept})"


def _computed() -> str:
    """Return the device, and why it is the CPU even where there is a GPU."""
    environment = read_object(ENVIRONMENT)
    where = ", ".join(str(environment[key]) for key in ("device", "precision") if key in environment)
    reason = "  (train.deterministic is portable; other recipes use CUDA where there is one)"
    return f"{where}{reason if portable.wanted() else ''}"


def _stale(now: "Revision") -> str:
    """Return the stages that were not run since what they use changed, and what that is; "" if all are up to date."""
    from src.review.stale import stale

    stages = stale(now).items()
    return listed([f"{stage} ({listed(reasons, most=3)})" for stage, reasons in stages], most=3)


def _changes(code: CodeState, now: "Revision") -> Iterator[str]:
    """Yield how the numbers differ from the committed ones, and why."""
    from src.review.revision import Revision

    before = Revision("the commit", code.commit)
    lines = _differences(before.numbers, now.numbers)
    if not before.numbers or not lines:
        yield "the numbers are the committed ones" if before.numbers else "no numbers are committed yet"
        return
    yield listed(lines, most=3)
    inputs = {
        "params.yaml": before.params != now.params,
        "code": code.difference,
        "data": before.output(DATASET).get("md5") != now.output(DATASET).get("md5"),
    }
    if any(inputs.values()):
        yield f"what differs: {', '.join(name for name, differs in inputs.items() if differs)}"
        return
    elsewhere = ", ".join(_differences(before.json(ENVIRONMENT), now.json(ENVIRONMENT)))
    reason = elsewhere or "nothing in it differs, so it is the processor or its libraries"
    yield f"parameters, code and data do not differ; {ENVIRONMENT} explains it: {reason}"


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return `accuracy 0.98 → 0.97` for each key whose value changed. A missing value and null are both `none`."""
    pairs = {
        key: ["none" if side.get(key) is None else str(side[key]) for side in (before, now)]
        for key in {**now, **before}
    }
    return [f"{key} {old} → {new}" for key, (old, new) in pairs.items() if old != new]


def _run() -> Iterator[tuple[str, str]]:
    from src.tracking.sync import complete  # which imports MLflow

    try:
        run = complete()
    except UserError as error:
        yield "run", f"not in MLflow, or not complete: {error}"
        return
    yield "run", f"{run.name} ({run.run_id})"
    # Without workflowType, MLflow shows its pages for language models.
    page = f"#/experiments/{run.experiment_id}/runs/{run.run_id}?workflowType=machine_learning"
    uri = without_credentials(run.uri)
    if uri.startswith(("http://", "https://")):
        yield "see it", f"{uri.rstrip('/')}/{page}"
        return
    if database(run.uri) == main_root() / "mlflow.db":
        uri = "sqlite:///mlflow.db"
    # The default of `mlflow ui`, unless it finds the folder of older versions.
    default = uri == "sqlite:///mlflow.db" and not Path("mlruns").is_dir()
    server = "mlflow ui" if default else f"mlflow ui --backend-store-uri '{uri}'"
    yield "see it", f"{server}, then http://127.0.0.1:5000/{page}"


if __name__ == "__main__":
    command(main)

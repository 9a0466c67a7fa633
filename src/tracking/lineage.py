"""From a model, a run or a commit to what made it: data, parameters, code, commit, metrics; and how to rebuild it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from src.core.addresses import without_credentials
from src.core.documents import keys, read_json
from src.core.errors import UserError
from src.core.files import digest
from src.core.paths import METRICS, TRAINING
from src.tracking import history
from src.tracking.history import State
from src.tracking.runs import existing_store, registered_run, run_by_id, runs_of
from src.tracking.store import Store, tracking_uri

if TYPE_CHECKING:
    from mlflow.entities import Run

_MD5 = re.compile("[0-9a-f]{32}")


class Lineage(NamedTuple):
    model_md5: str | None  # None: a run that trained none
    states: Sequence[State]  # whose dvc.lock holds the model, newest first, the working tree's before them
    runs: Sequence["Run"]  # that have the model, newest first

    @property
    def commit(self) -> str | None:
        """The first whose `dvc.lock` holds the model."""
        return next((state.commit for state in reversed(self.states) if state.commit), None)


def trace(name: str) -> Lineage:
    """Of a model's file, its MD5, `models:/NAME@ALIAS`, a run's id, or a commit. Raises `UserError` where it is
    none."""
    store = existing_store()
    if Path(name).is_file():
        found = _of_model(store, digest(Path(name)))
        if not found.states and not found.runs:
            raise UserError(f"{name} is no model that dvc.lock's history or a run holds")
        return found
    if name.startswith("models:/"):
        if store is None:
            raise UserError(
                f"MLflow at {without_credentials(tracking_uri())} has no runs yet: {name} cannot be looked up"
            )
        return of_run(registered_run(store, name), store)
    if _MD5.fullmatch(name):
        if store is not None and (run := run_by_id(store, name)):
            return of_run(run, store)
        found = _of_model(store, name)
        if not found.states and not found.runs:
            raise UserError(f"{name} is neither a run's id nor the MD5 of a model in dvc.lock's history or in a run")
        return found
    commit = history.resolve(name)
    if commit is None:
        raise UserError(f"{name} is not a file, a model's MD5, a run's id, models:/NAME@ALIAS or a commit")
    state = history.state_of(commit)
    if state is None:
        raise UserError(f"{name} has no trained model: its dvc.lock lists none")
    others = [other for other in history.states(state.model_md5) if other.commit != commit]
    runs = runs_of(store, state.model_md5) if store else []
    return Lineage(state.model_md5, [*others, state], runs)  # the asked commit counts as the first


def of_run(run: "Run", store: Store) -> Lineage:
    """This run comes before others of its model."""
    md5 = run.data.tags.get("model_md5")
    if md5 is None:
        return Lineage(None, [], [run])
    others = [other for other in runs_of(store, md5) if other.info.run_id != run.info.run_id]
    return Lineage(md5, history.states(md5), [run, *others])


def _of_model(store: Store | None, md5: str) -> Lineage:
    return Lineage(md5, history.states(md5), runs_of(store, md5) if store else [])


def lines(lineage: Lineage) -> Iterator[tuple[str, str]]:
    """What to show: label and text; a label that repeats is one item over several lines."""
    run = next(iter(lineage.runs), None)
    state = next(reversed(lineage.states), None)
    tags: Mapping[str, str] = run.data.tags if run else {}
    yield "model", lineage.model_md5 or "none: the run trained no model"
    yield "data", (state.data_md5 if state else None) or tags.get("data_md5", "unknown")
    yield from _commit(lineage)
    yield from (("run", _run(found)) for found in lineage.runs)
    if run is None:
        yield "run", f"none at {without_credentials(tracking_uri())}: python -m src.track sync makes one"
    yield from (("code", text) for text in _code(tags, lineage))
    yield from (("metrics", text) for text in _metrics(lineage.commit, run))
    parameters = state.parameters if state else (run.data.params if run else {})
    yield from (("parameters", f"{key}: {parameters[key]}") for key in sorted(parameters))
    yield from (("rebuild", command) for command in commands(lineage))


def _commit(lineage: Lineage) -> Iterator[tuple[str, str]]:
    commits = [state.commit for state in lineage.states if state.commit]
    if lineage.commit is not None:
        more = f" (and {len(commits) - 1} later)" if len(commits) > 1 else ""
        yield "commit", history.describe(lineage.commit) + more
    elif lineage.states:
        yield "commit", "not yet: dvc.lock of the working tree holds it"
    else:
        yield "commit", "none: no dvc.lock holds this model"


def _run(run: "Run") -> str:
    elsewhere = ", of a model trained elsewhere" if run.data.tags.get("training") == "elsewhere" else ""
    return f"{run.info.run_name} ({run.info.run_id}) {run.info.status}{elsewhere}"


def _code(tags: Mapping[str, str], lineage: Lineage) -> Iterator[str]:
    own = tags.get("code_digest", "unknown")
    oldest_first = (state.commit for state in reversed(lineage.states) if state.commit)
    same = next((commit for commit in oldest_first if history.code_digest(commit, "train") == own), None)
    where = f", as in {same[:7]}" if same else ", in none of the commits" if lineage.commit and own != "unknown" else ""
    yield own + where
    if (base := tags.get("base_commit", "none")) != "none":
        changed = "with changes: code.diff of the run" if tags.get("code_modified") == "true" else "unchanged"
        yield f"ran on top of {base[:7]}, {changed}"


def _metrics(commit: str | None, run: "Run | None") -> Iterator[str]:
    """The committed ones, of the epoch that was kept; without a commit the run's last ones. Intervals are left out."""
    found: dict[str, float] = {}
    if commit is None:
        found = dict(run.data.metrics) if run is not None else {}
    else:
        for path, prefix in ((TRAINING, ""), (METRICS, "test_")):
            (content,) = history.contents([commit], path)
            try:
                numbers = keys(read_json(content or b"{}"))
            except ValueError as error:
                yield f"{path} of the commit cannot be read: {error}"
                continue
            found |= {f"{prefix}{key}": value for key, value in numbers.items() if isinstance(value, int | float)}
    yield from (f"{name} {value:g}" for name, value in sorted(found.items()) if "_ci_" not in name)


def commands(lineage: Lineage) -> list[str]:
    """What to type, in the repository's root, to get the model once more."""
    if lineage.commit is not None:
        return [
            f"python -m src.track rebuild {lineage.commit[:12]}",
            f"or by hand: git worktree add --detach ../rebuild {lineage.commit[:12]} && cd ../rebuild && "
            "dvc repro --force --no-run-cache evaluate",
        ]
    run = next((run for run in lineage.runs if run.data.tags.get("base_commit", "none") != "none"), None)
    if run is None:
        return ["cannot be: neither a commit nor a run says from which code"]
    run_id, base = run.info.run_id, run.data.tags["base_commit"]
    modified = run.data.tags.get("code_modified") == "true"
    patch = " && git apply artifacts/code.diff" if modified else ""
    return [
        f"python -m src.track rebuild {run_id}",
        f"or by hand: git worktree add --detach ../rebuild {base[:12]} && cd ../rebuild && "
        f"mlflow artifacts download -r {run_id} -d artifacts{patch} && cp artifacts/params.yaml . && "
        "dvc repro --force --no-run-cache evaluate",
    ]

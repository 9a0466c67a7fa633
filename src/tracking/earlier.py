"""Results of a model, carried over from an earlier run that has them to the run that trained the same model again.

Where training gives the weights it gave before (a comment in its code is enough to run it), DVC finds the model
unchanged and runs neither evaluate nor visualize: the new run, the newest of its model, would stay without test metrics
and figures. It gets those of the newest run in which evaluate finished, as they are: the metrics `test_…`, the files
below `reports` that training did not write itself, and the tags of both stages. Nothing is measured anew, and the tags
`evaluate.run` and `visualize.run` say so: they name the run in which the stage ran. If DVC does run one of them after
all, its results replace these and the tag names the new run.
"""

import tempfile
from collections.abc import Mapping
from typing import NamedTuple

from src.core.paths import REPORTS
from src.tracking.store import Store, explained, placing

_STAGES = ("evaluate", "visualize")


class Results(NamedTuple):
    run_id: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


def earlier_results(store: Store, run_id: str) -> Results | None:
    """Those of the newest run that has them and the same `model_md5` as the run; None where there is no such run."""
    with explained(store.uri):
        md5 = store.client.get_run(run_id).data.tags.get("model_md5")
        if md5 is None:
            return None
        query = f"tags.model_md5 = '{md5}' and tags.`evaluate.status` = 'finished'"
        order = ["attributes.start_time DESC"]
        found = store.client.search_runs([store.experiment_id], query, order_by=order, max_results=1)
    if not found:
        return None
    earlier, data = found[0].info.run_id, found[0].data
    tags: dict[str, str] = {}
    for stage in _STAGES:
        if own := {key: value for key, value in data.tags.items() if key.startswith(f"{stage}.")}:
            # Its own `.run`, if there is one, goes further back than `earlier`.
            tags |= {f"{stage}.run": earlier} | own
    return Results(earlier, tags, {name: value for name, value in data.metrics.items() if name.startswith("test_")})


def copy_reports(store: Store, source: str, target: str) -> None:
    """The files and folders below `reports` of the run `source` that the run `target` lacks."""
    client = store.client
    with explained(store.uri), tempfile.TemporaryDirectory() as folder:
        present = {file.path for file in client.list_artifacts(target, REPORTS.name)}
        for file in client.list_artifacts(source, REPORTS.name):
            if file.path not in present:
                copy = client.download_artifacts(source, file.path, folder)
                with placing(store.uri):
                    client.log_artifact(target, copy, REPORTS.name)

"""Find the run of a model on an MLflow server by its REST interface, since the report is installed without MLflow."""

import json
import os
from base64 import b64encode
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from src.core.addresses import without_credentials
from src.tracking.store import tracking_uri


def find_run(model_md5: str) -> dict[str, Any]:
    """Return the `page` of a model's newest run and what its training `spent` (see `src.tracking.cost`).

    Return {} if MLFLOW_TRACKING_URI names no server, or if the server does not answer or has no such run. The login is
    in the address or in MLflow's variables, as with MLflow itself.
    """
    parts, address = urlsplit(tracking_uri()), without_credentials(tracking_uri()).rstrip("/")
    if parts.scheme not in ("http", "https"):
        return {}
    user = unquote(parts.username or "") or os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = unquote(parts.password or "") or os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    headers = {"Content-Type": "application/json"}
    if user or token:
        basic = f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
        headers["Authorization"] = basic if user else f"Bearer {token}"

    def search(what: str, **query: Any) -> list[Any]:
        request = Request(f"{address}/api/2.0/mlflow/{what}/search", json.dumps(query).encode(), headers)
        with urlopen(request, timeout=5) as answer:
            return list(json.load(answer).get(what, []))

    try:
        ids = [experiment["experiment_id"] for experiment in search("experiments", max_results=1000)]
        query, newest_first = f"tags.model_md5 = '{model_md5}'", ["attributes.start_time DESC"]
        runs = search("runs", experiment_ids=ids, filter=query, order_by=newest_first, max_results=1)
    except (OSError, HTTPException, ValueError):
        return {}
    if not runs:
        return {}
    info, data = runs[0]["info"], runs[0]["data"]
    tags, metrics = ({each["key"]: each["value"] for each in data.get(kind, [])} for kind in ("tags", "metrics"))
    costs = {key.removeprefix("cost/"): value for key, value in metrics.items() if key.startswith("cost/")}
    return {
        "page": f"{address}/#/experiments/{info['experiment_id']}/runs/{info['run_id']}?workflowType=machine_learning",
        "spent": {"machine": tags.get("machine"), **costs},
    }

"""Keep the champion, the version of a registered model that the alias `champion` names. Each promotion makes one."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.paths import VALIDATION_PREDICTIONS
from src.evaluation import tables
from src.tracking.runs import logged_model, runs_of
from src.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import RegisteredModel

ALIAS = "champion"
ACCURACY = "validation_accuracy"  # a tag that only versions have which were promoted here


class Version(NamedTuple):
    number: int
    run_id: str
    tags: Mapping[str, str]

    @property
    def model_md5(self) -> str:
        return self.tags.get("model_md5", "")


class Registry:
    """Read and change the versions of one registered model. Methods raise `UserError` if the store cannot be used."""

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self._store = store

    def registered(self) -> "RegisteredModel | None":
        """Return MLflow's entry for the name, which stays even if all versions are deleted."""
        return next(iter(self._store.client.search_registered_models(f"name = '{self.name}'")), None)

    def champion(self) -> Version | None:
        entry = self.registered()
        number = entry.aliases.get(ALIAS) if entry else None
        return next((version for version in self.versions() if str(version.number) == str(number)), None)

    def versions(self) -> list[Version]:
        found = self._store.client.search_model_versions(f"name = '{self.name}'", max_results=10_000)
        return [Version(int(each.version), each.run_id or "", dict(each.tags)) for each in found]

    def answers(self, version: Version) -> pandas.DataFrame:
        """Return the predictions of the version's model for its validation images."""
        files = self._store.artifacts(self._store.client.get_run(version.run_id).info.artifact_uri)
        with tempfile.TemporaryDirectory() as folder:
            return tables.read(Path(files.download_artifacts(VALIDATION_PREDICTIONS.as_posix(), folder)))

    def promote(self, model_md5: str, tags: Mapping[str, str]) -> Version:
        """Make the model the champion, as the newest run that trained it has logged it.

        Raises `UserError` where no run has it.
        """
        logged = (logged_model(self._store, run) for run in runs_of(self._store, model_md5))
        model = next((found for found in logged if found), None)
        if model is None:
            where = without_credentials(self._store.uri)
            raise UserError(f"no run at {where} holds the model {model_md5}: python -m src.track sync makes one")
        client, run_id, model_id = self._store.client, model.source_run_id or "", model.model_id
        tags = {**tags, "model_md5": model_md5}
        if self.registered() is None:
            client.create_registered_model(self.name)
        made = client.create_model_version(self.name, f"models:/{model_id}", run_id, tags, model_id=model_id)
        client.set_registered_model_alias(self.name, ALIAS, str(made.version))
        return Version(int(made.version), run_id, tags)

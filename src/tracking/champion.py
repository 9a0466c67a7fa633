"""Keep the champion, the version of a registered model that the alias `champion` names, and the champions before it.

Every promotion makes a new version, so that their numbers are the order of promotion; a version with the tag
`champion.rolled_back` does not count.
"""

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
_ROLLED_BACK = f"{ALIAS}.rolled_back"


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
        return next((version for version in self._versions() if str(version.number) == str(number)), None)

    def line(self) -> list[Version]:
        """Return the versions that are or were champion and were not rolled back, in the order of promotion."""
        return [each for each in self._versions() if ACCURACY in each.tags and _ROLLED_BACK not in each.tags]

    def answers(self, version: Version) -> pandas.DataFrame:
        """Return the predictions of the version's model for its validation images."""
        files = self._store.artifacts(self._store.client.get_run(version.run_id).info.artifact_uri)
        with tempfile.TemporaryDirectory() as folder:
            return tables.read(Path(files.download_artifacts(VALIDATION_PREDICTIONS.as_posix(), folder)))

    def promote(self, model_md5: str, tags: Mapping[str, str], against: Version | None) -> Version:
        """Make the model the champion, as the newest run that trained it has logged it.

        Raises `UserError` where no run has it, or where the champion is no longer the one `against` which the model was
        compared: MLflow has no locks, and another machine may have promoted.
        """
        logged = (logged_model(self._store, run) for run in runs_of(self._store, model_md5))
        model = next((found for found in logged if found), None)
        if model is None:
            where = without_credentials(self._store.uri)
            raise UserError(f"no run at {where} holds the model {model_md5}: python -m src.track sync makes one")
        present = self.champion()
        if (present and present.number) != (against and against.number):
            now = f"version {present.number}" if present else "none"
            raise UserError(f"the champion of {self.name} changed meanwhile ({now} has the title now): promote again")
        client, run_id, model_id = self._store.client, model.source_run_id or "", model.model_id
        tags = {**tags, "model_md5": model_md5}
        if self.registered() is None:
            client.create_registered_model(self.name)
        made = client.create_model_version(self.name, f"models:/{model_id}", run_id, tags, model_id=model_id)
        client.set_registered_model_alias(self.name, ALIAS, str(made.version))
        return Version(int(made.version), run_id, tags)

    def rollback(self) -> tuple[Version, Version]:
        """Give the alias back to the champion before; the present one no longer counts. Return both.

        Raises `UserError` where there is none before.
        """
        present = self.champion()
        if present is None:
            raise UserError(f"{self.name} has no champion")
        before = [version for version in self.line() if version.number < present.number]
        if not before:
            raise UserError(
                f"version {present.number} of {self.name} is the first champion: there is none to go back to"
            )
        self._store.client.set_registered_model_alias(self.name, ALIAS, str(before[-1].number))
        self._store.client.set_model_version_tag(self.name, str(present.number), _ROLLED_BACK, "true")
        return present, before[-1]

    def _versions(self) -> list[Version]:
        """Return all versions, sorted by number."""
        found = self._store.client.search_model_versions(f"name = '{self.name}'", max_results=10_000)
        return sorted(
            (Version(int(each.version), each.run_id or "", dict(each.tags)) for each in found),
            key=lambda version: version.number,
        )

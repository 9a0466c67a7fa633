"""Parts of a search that need no training: the space, values written into params.yaml, and the verdict."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from ruamel.yaml import YAML
from scipy.stats import ttest_ind
from tune_samples import params, plan, searched

from src.core.errors import UserError
from src.params import Params, check, parse, writing
from src.search import confirm, sampling, space
from src.search.objectives import Objective
from src.search.plan import confirmation

DIGITS = writing.recipe("digits")


@pytest.mark.parametrize("name", writing.names())
def test_the_space_of_every_recipe_can_be_searched_and_holds_its_settings(name: str) -> None:
    found = writing.load_recipe(name)
    entries = space.distributions(found)
    assert set(entries) == {"train.optimizer.lr", "train.optimizer.weight_decay", "model.dropout"}
    rate = entries["train.optimizer.lr"]
    assert rate._contains(rate.to_internal_repr(found.train.optimizer.lr))


@pytest.mark.parametrize(
    ("key", "entry", "expected"),
    [
        ("model.dropout", {"low": 0, "high": 0.5}, FloatDistribution(0, 0.5)),
        ("model.dropout", {"low": 0.0, "high": 0.45, "step": 0.1}, FloatDistribution(0, 0.4, step=0.1)),
        ("model.dropout", {"choices": [0.1, 0.2]}, CategoricalDistribution([0.1, 0.2])),
        ("train.batch_size", {"low": 8, "high": 60, "step": 8}, IntDistribution(8, 56, step=8)),
        ("train.augment.rotate", {"low": 0, "high": 20}, FloatDistribution(0, 20)),
    ],
)
def test_only_where_the_schema_wants_whole_numbers_a_range_has_them(
    key: str, entry: dict[str, Any], expected: object
) -> None:
    assert space.distributions(params(space={key: entry})) == {key: expected}


def test_combinations_that_the_schema_refuses_are_found_before_the_first_trial() -> None:
    """Of many choices a sample; values that only the present ones do not go with are accepted."""
    entries: dict[str, Any] = {"train.batch_size": {"choices": [27, 36]}, "train.accumulate": {"choices": [3, 9]}}
    assert len(space.distributions(params(space=entries))) == 2
    entries["train.batch_size"]["choices"], entries["train.accumulate"]["choices"] = [32, 36], [1, 8]
    entries["model.dropout"] = {"choices": [number / 5000 for number in range(1, 2000)]}
    with pytest.raises(
        UserError, match="batch_size must be a multiple of processes × accumulate, not 36 / \\(1 × 8\\)"
    ):
        space.distributions(params(space=entries))


def of(key: str, **entry: Any) -> dict[str, Any]:
    return {"space": {key: entry}}


MUON = {"train.optimizer.name": {"choices": ["rmsprop", "muon"]}, "train.optimizer.momentum": {"low": 0.5, "high": 0.9}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (of("model.dropout", low=1, high=0), "tune.space.model.dropout: low must be less than high"),
        (of("model.dropout", low=0, high=0.5, log=True), "low must be above 0 with log: true"),
        (of("model.dropout", choices=[1, 1.0]), "choices must differ"),
        (of("model.dropout", low=0.1, high=1.5), "tune.space: model.dropout is 1.5: must be less than 1"),
        (of("train.batch_size", low=16, high=64, step=8.5), "train.batch_size is 24.5: must be a valid integer"),
        (of("train.optimiser.lr", low=0.1, high=0.5), "train: unknown key 'optimiser': did you mean optimizer?"),
        (of("model.name.lr", low=0.1, high=0.5), "model.name.lr does not exist: name holds no keys"),
        (of("split.validation", low=0.1, high=0.5), "cannot be searched: only keys of model and train can"),
        (of("train.threads", choices=[1, 2]), "train.threads cannot be searched: all trials share it"),
        (
            of("train.optimizer.name", choices=["adamw", "sgd"]),
            "tune.space with train.optimizer.name sgd: train.optimizer.momentum is missing",
        ),
        ({"space": MUON}, "train.optimizer.momentum cannot be searched: the present settings lack it"),
        ({"sampler": "grid"}, "tune.space: train.optimizer.lr has neither choices nor a step"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_search_that_cannot_be_is_one_line(changes: dict[str, Any], message: str) -> None:
    raw = YAML(typ="safe", pure=True).load(DIGITS)
    raw["tune"] |= changes

    def planned() -> None:
        search = check(raw, "params.yaml")
        sampling.trial_count(search.tune.sampler, space.distributions(search), 10)

    with pytest.raises(UserError, match=re.escape(message)) as fault:
        planned()
    assert "\n" not in str(fault.value)


def test_only_the_values_change_and_are_read_as_they_were() -> None:
    values = {"train.optimizer.lr": 1.25e-7, "model.activation": None, "train.augment.flip": True}
    text = writing.changed(DIGITS, values)
    assert sum(old != new for old, new in zip(DIGITS.splitlines(), text.splitlines(), strict=True)) <= 3
    read = parse(text, "params.yaml")
    assert [read.train.optimizer.lr, read.model.activation, read.train.augment.flip] == list(values.values())


ACCURACY = Objective("accuracy")


def compared(*groups: list[float | None]) -> list[confirm.Confirmed]:
    names = ["present", *(f"trial {number}" for number in range(1, len(groups)))]
    settings = {name: {"model.dropout": 0.1 * number} for number, name in enumerate(names)}
    trainings = confirmation(plan(1), 3, settings)
    return confirm.confirmed(
        trainings,
        [
            trained(trainings.space, {"setting": name, "seed": seed}, value)
            for name, group in zip(names, groups, strict=True)
            for seed, value in enumerate(group, start=1)
        ],
    )


def trained(space: sampling.Space, values: dict[str, Any], value: float | None) -> FrozenTrial:
    state = TrialState.FAIL if value is None else TrialState.COMPLETE
    return create_trial(state=state, params=values, distributions=dict(space), value=value)


def test_a_clear_winner_is_told_with_welchs_test_corrected_by_holm() -> None:
    present, good, fair = [0.90, 0.91, 0.90, 0.92, 0.91], [0.95, 0.96, 0.95, 0.94, 0.96], [0.90, 0.92, 0.93, 0.9, 0.91]
    rows = compared([*present], [*good], [*fair])
    assert [row.name for row in rows] == ["trial 1", "trial 2", "present"]
    expected = ttest_ind(good, present, equal_var=False).pvalue
    assert rows[0].p == pytest.approx(2 * expected)
    assert rows[1].p == pytest.approx(ttest_ind(fair, present, equal_var=False).pvalue)
    assert rows[0].low < rows[0].mean < rows[0].high
    said = confirm.verdict(rows, ACCURACY)
    assert "Trial 1 is better than the present settings by 4.40 percentage points" in said


@pytest.mark.parametrize(
    ("other", "best", "words"),
    [
        ([0.91, 0.93, 0.90, 0.93, 0.91], "trial 1", "but is not distinguishable from the present settings"),
        ([0.90, 0.91, 0.90, 0.90, 0.91], "present", "there is nothing to change"),
    ],
)
def test_what_is_no_clear_winner_is_told(other: list[float | None], best: str, words: str) -> None:
    rows = compared([0.90, 0.92, 0.91, 0.93, 0.90], other)
    assert rows[0].name == best
    assert words in confirm.verdict(rows, ACCURACY)


def test_without_spread_nothing_is_tested_and_failed_trainings_are_left_out() -> None:
    rows = compared([0.9] * 5, [0.91] * 5, [None] * 5)
    assert np.isnan(rows[0].p)
    assert "no spread to test it by" in confirm.verdict(rows, ACCURACY)
    assert len(rows[-1].results) == 0
    assert rows[-1].name == "trial 2"


@pytest.mark.usefixtures("root")
def test_every_setting_gets_every_seed_but_the_searchs() -> None:
    search = plan(1)
    raised = replace(search, params=Params.model_validate(search.params.model_dump() | {"seed": 2}))
    settings = {"present": {"model.dropout": 0.1}, "trial 7": {"model.dropout": 0.2}}
    trainings = confirmation(raised, 3, settings)
    assert trainings.count == 10
    given = [tuple(trial.params.values()) for trial in searched(trainings)]
    assert sorted(given) == [(name, seed) for name in settings for seed in (0, 1, 3, 4, 5)]
    task = trainings.task({"setting": "trial 7", "seed": 3})
    assert (task.model.dropout, task.train.epochs, task.seed) == (0.2, 3, 3)

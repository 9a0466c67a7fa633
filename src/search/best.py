"""Make `best.json`, which holds what a search found, and write its values into `params.yaml`."""

import math
from collections.abc import Sequence
from typing import Any

import pandas
from optuna.trial import FrozenTrial

from src.core.documents import read_object, read_yaml
from src.core.errors import UserError
from src.core.files import write_text
from src.core.paths import BEST, PARAMS, TRIALS
from src.params import Params
from src.params.writing import changed
from src.search.confirm import Confirmed, verdict
from src.search.plan import Plan, search
from src.search.space import distributions, present
from src.search.trial_results import count_states, ranked, result
from src.tracking import identity


def best_of(plan: Plan, trials: Sequence[FrozenTrial], rows: Sequence[Confirmed]) -> dict[str, Any]:
    """Return the content of `best.json` for a search with a complete trial.

    `winner` is what `--apply` writes: the confirmed setting with the best mean, or the best trial if none is confirmed.
    `model_md5` is the MD5 of the file that the stage train writes with these values and the search's seed and epochs.
    Like that stage it belongs to the weights of `best_epoch`, which has the best accuracy, even if the objective is the
    loss.
    """
    objective = plan.objective
    best = ranked(trials, objective)[0]
    confirmed = bool(rows) and not math.isnan(rows[0].mean)
    setting = rows[0].name if confirmed else f"trial {best.number}"
    luck = "The best trial was chosen from all by one training each: its value is too good on average. "
    return {
        "study": plan.name,
        "objective": objective.label,
        "epochs": plan.params.train.epochs,
        "trials": count_states(trials),
        "verdict": verdict(rows, objective) if rows else luck + "It was not confirmed with other seeds.",
        "best": {
            "trial": best.number,
            objective.name: best.value,
            **{key: result(best)[key] for key in ("best_epoch", "model_md5")},
            "values": best.params,
        },
        "winner": {
            "setting": setting,
            "model_md5": next(
                (result(each)["model_md5"] for each in trials if setting == f"trial {each.number}"), None
            ),
            "confirmed": confirmed,
            "values": dict(rows[0].values) if confirmed else best.params,
        },
    }


def apply(params: Params, number: int | None) -> None:
    """Write the values of a trial into `params.yaml`, or of the winner if `number` is None; all else stays as it is.

    Raises `UserError` if `best.json` belongs to another search.
    """
    found = read_object(BEST, "run python -m src.tune, which writes it")
    plan = search(params, distributions(params))
    try:
        if found["study"] != plan.name:
            raise UserError(f"{BEST} is of the search {found['study']}, not of the present {plan.name}: search again")
        if number is not None:
            rows = pandas.read_csv(TRIALS, dtype=str, keep_default_na=False).set_index("trial")
            if str(number) not in rows.index:
                raise UserError(f"--apply is {number}: {TRIALS} has no such trial")
            row = rows.loc[str(number)]
            told, new = f"trial {number}, {row['state']}", {key: read_yaml(str(row[key])) for key in plan.space}
        else:
            told, new = found["verdict"], dict(found["winner"]["values"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{BEST} or {TRIALS} is damaged: run python -m src.tune, which writes them") from None
    print(told)
    old = present(params)
    if old == new:
        print(f"{PARAMS} has these values already")
        return
    write_text(PARAMS, changed(PARAMS.read_text(encoding="utf-8"), new))
    for key, value in new.items():
        print(f"{key}: {identity.text(old[key])} → {identity.text(value)}")
    print(f"written to {PARAMS}: git diff shows it, dvc repro trains with it")

"""What a search found, written into `params.yaml`: the difference is the lines of those values."""

from src.core.documents import read_object
from src.core.errors import UserError
from src.core.files import write_text
from src.core.paths import BEST, PARAMS
from src.params import Params
from src.params.writing import changed
from src.search.plan import search
from src.search.space import distributions, present
from src.tracking import identity


def write_best(params: Params) -> None:
    """Writes the winner of `best.json` into `params.yaml`. Raises `UserError` where it belongs to another search."""
    found = read_object(BEST, "run python -m src.tune, which writes it")
    try:
        study, told, new = found["study"], found["winner"]["verdict"], dict(found["winner"]["values"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{BEST} is damaged: run python -m src.tune, which writes it") from None
    plan = search(params, distributions(params))
    if study != plan.name:
        raise UserError(f"{BEST} is of the search {study}, not of the present {plan.name}: search again")
    print(told)
    old = present(params)
    if old == new:
        print(f"{PARAMS} has these values already")
        return
    write_text(PARAMS, changed(PARAMS.read_text(encoding="utf-8"), new))
    for key, value in new.items():
        print(f"{key}: {identity.text(old[key])} → {identity.text(value)}")
    print(f"written to {PARAMS}: git diff shows it, dvc repro trains with it")

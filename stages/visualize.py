"""visualize: what the other stages wrote → every picture in reports/figures, and reports/index.html, which shows them.

python -m stages.visualize
"""

from src.core import paths
from src.core.addresses import without_credentials
from src.evaluation import tables
from src.figures.gallery import draw_all
from src.figures.page import page
from src.figures.pipeline_results import read_pipeline_results
from src.models.inspection import table
from src.params import load
from src.tracking.identity import flatten
from src.tracking.sync import complete_or_warn
from stages import run


def main() -> None:
    params = load()
    results = read_pipeline_results(params.visualize)
    configs = {
        "seed": params.seed,
        "data": params.data.model_dump(),
        "split": params.split.model_dump(),
        "model": params.model.model_dump(),
        "train": params.train.model_dump(),
        "evaluate": params.evaluate.model_dump(),
        "visualize": params.visualize.model_dump(),
    }
    settings = {key: without_credentials(value) for key, value in flatten(configs).items()}
    tables.write(paths.LAYERS, table(results.inspection.layers))
    drawn = draw_all(results, paths.FIGURES)
    page(paths.PAGE, results, settings, drawn)
    print(f"figures: {sum(map(len, drawn.values()))} pictures in {paths.FIGURES}, shown by {paths.PAGE}")

    complete_or_warn(fresh="visualize")


if __name__ == "__main__":
    run(main, "reduce data.image_size")

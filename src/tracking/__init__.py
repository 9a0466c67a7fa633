"""One MLflow run for one pass of the pipeline. MLflow itself (seconds) is imported only when a run is opened.

with training_run(params) as run:                      # stages/train.py
    run.log_epoch(epoch, {"train_loss": …})
    run.log_model(probabilities, example, MODEL)

with attach(MODEL, "evaluate", {}) as run:             # stages/evaluate.py, stages/visualize.py
    run.log_metrics({"test_accuracy": …})
"""

from src.tracking.run import Run, attach, training_run

__all__ = ["Run", "attach", "training_run"]

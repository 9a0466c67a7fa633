"""Keep runs in MLflow as a view of files: `dvc.lock`, `params.yaml`, `reports/`, `models/`, a running training's state.

    with live(session) as run:                 # stages/train.py: curves, while the training goes on
        run.log_epoch(epoch)
        run.log_model_md5(md5)
    complete_or_warn("visualize")              # stages/visualize.py, whose results DVC does not know yet
    complete()                                 # the same for src.summary and src.track sync

MLflow itself (seconds) is imported only by what asks the store.
"""

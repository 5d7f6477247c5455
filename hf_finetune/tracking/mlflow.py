"""MLflow: files in the run folder, unless MLFLOW_TRACKING_URI says otherwise."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from transformers.integrations import MLflowCallback

from hf_finetune.errors import Interrupted, UserError
from hf_finetune.run_folder import RunFolder
from hf_finetune.tracking.base import Session, Tracker, flatten_numbers
from hf_finetune.tracking.parameters import flatten_recipe


def _prepare_import() -> None:
    """Let MLflow keep files, send nothing about its use, and be left alone by comet_ml.

    comet_ml 3.58, which transformers imports, patches MLflow while it is imported, and would make a Comet
    experiment of each of its runs; it does not where `hf_finetune` was imported before transformers.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    sys.meta_path[:] = [f for f in sys.meta_path if not type(f).__module__.startswith("comet_ml.")]


_prepare_import()

import mlflow  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

__all__ = ["MLflow", "start"]

URI = "MLFLOW_TRACKING_URI"
MAX_PARAMETERS = 100


class MLflow(Tracker):
    """A run of MLflow, its active one until it is closed.

    Args:
        uri: Where MLflow keeps it.
        before: The address that was set in this process before.
    """

    def __init__(self, uri: str, before: str | None) -> None:
        self.uri, self.before = uri, before
        self.callback = _MLflowCallback()

    def log_results(self, folder: RunFolder, scores: Mapping[str, Any]) -> None:
        """Log the scores of the best model at its update, and the report."""
        mlflow.log_metrics(flatten_numbers(scores), step=scores["best"]["step"])
        for path in (folder.report, folder.scores, folder.recipe):
            mlflow.log_artifact(str(path))

    def close(self, error: BaseException | None) -> None:
        """End the run, and leave MLflow as it was."""
        stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        mlflow.end_run("FINISHED" if error is None else "KILLED" if stopped else "FAILED")
        mlflow.set_tracking_uri(self.before)

    def place(self) -> str:
        """Return the command that shows it, or the server's address."""
        show = f"MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {self.uri}"
        return show if self.uri.startswith("file:") else self.uri


class _MLflowCallback(MLflowCallback):  # type: ignore[misc]  # transformers has no types
    """transformers' callback on a run that is set up already.

    Its own set-up (transformers 5.23) would send TrainingArguments and the model's configuration beside the
    recipe, and send them again with every resume, which MLflow refuses where a value has changed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._initialized, self._async_log = True, False


def start(session: Session) -> MLflow:
    """Begin the run, or go on with it.

    Raises:
        UserError: The server cannot be reached, or does not take the run.
    """
    given = os.environ.get(URI)
    uri = given or f"file:{session.own_folder('mlflow').resolve()}"
    mlflow.set_tracking_uri(uri)
    memory = session.memory
    try:
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME") or session.args.project)
        name = session.args.run_name or session.name
        run = mlflow.start_run(run_id=memory.get("run_id"), run_name=name, log_system_metrics=False)
        memory["run_id"] = run.info.run_id
        known = mlflow.get_run(run.info.run_id).data.params
        new = {key: value for key, value in flatten_recipe(session.recipe).items() if key not in known}
        for first in range(0, len(new), MAX_PARAMETERS):
            mlflow.log_params(dict(list(new.items())[first : first + MAX_PARAMETERS]))
    except MlflowException as error:
        mlflow.set_tracking_uri(given)
        raise UserError(
            f"training.report_to: MLflow did not take the run: {error}",
            where=session.recipe.where("training.report_to"),
            todo=f"See {URI}; without it the run is kept in the run folder.",
        ) from None
    return MLflow(uri, given)

"""Comet: one experiment a run, online or as an archive in the run folder, the same one after a resume."""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comet_ml
from comet_ml.exceptions import CometException
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import CometCallback
from transformers.integrations.integration_utils import rewrite_logs

from hf_finetune.errors import UserError
from hf_finetune.recipe import CometSpec, Recipe
from hf_finetune.run_folder import RunFolder
from hf_finetune.secrecy import hide_in, hide_secrets
from hf_finetune.tracking.base import Session, Tracker
from hf_finetune.tracking.comet_archive import find_last_step, list_whole
from hf_finetune.tracking.comet_online import ADVICE, require_access
from hf_finetune.tracking.comet_results import log_results
from hf_finetune.tracking.parameters import flatten_recipe

__all__ = ["Comet", "require", "start"]

SYSTEM_METRICS = ("log_env_gpu", "log_env_cpu", "log_env_network", "log_env_disk")


class Comet(Tracker):
    """An experiment of Comet.

    Args:
        spec: `tracking.comet` of the recipe.
        experiment: Just started.
        folder: Takes the archive; None for an experiment that is online.
        callback: Feeds the experiment while training.
    """

    def __init__(
        self, spec: CometSpec, experiment: Any, folder: Path | None, callback: _CometCallback
    ) -> None:
        self.spec, self.experiment, self.folder, self.callback = spec, experiment, folder, callback
        self.url = "" if folder else str(experiment.url)

    def log_results(self, folder: RunFolder, scores: Mapping[str, Any]) -> None:
        """Send scores, confusion matrix, worst mistakes, report and best model."""
        log_results(self.experiment, folder, scores, log_model=self.spec.log_model)

    def close(self, error: BaseException | None) -> None:
        """Say how the run ended, then send or archive the rest: an archive is empty until then."""
        self.experiment.log_other("ended", "finished" if error is None else type(error).__name__)
        self.experiment.end()
        if self.folder is not None and not list_whole(self.folder):
            raise OSError(f"the archive in {self.folder} was not written")

    def place(self) -> str:
        """Return the address, or the command that uploads the archives of all sessions."""
        return f"comet upload {self.folder}/*.zip" if self.folder else self.url


class _CometCallback(CometCallback):  # type: ignore[misc]  # transformers has no types
    """transformers' callback on an experiment that is set up already.

    Its own set-up (transformers 5.23) would send TrainingArguments and the model's configuration as
    parameters beside those of the recipe. `_experiment` and `_initialized` are all that is touched of it.

    Args:
        experiment: Where the logs go.
        first_step: What was logged after this update is not yet in the experiment.
    """

    def __init__(self, experiment: Any, first_step: float) -> None:
        super().__init__()
        self._experiment, self._initialized = experiment, True
        self.first_step = first_step

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **kwargs: Any,
    ) -> None:
        """Log what of a resumed run's history never arrived, because its process was killed."""
        self._experiment.set_model_graph(str(model))
        for entry in state.log_history:
            if entry["step"] > self.first_step:
                logs = {name: value for name, value in entry.items() if name != "step"}
                self._experiment.log_metrics(rewrite_logs(logs), step=entry["step"], epoch=entry.get("epoch"))


def require(recipe: Recipe) -> None:
    """Check that an online experiment can be made: offline needs nothing.

    Raises:
        UserError: There is no key, it is not taken, or Comet cannot be reached.
    """
    if _spec(recipe).mode == "online":
        require_access(recipe.where("tracking.comet"))


def start(session: Session) -> Comet:
    """Begin the run's experiment, or go on with it.

    Raises:
        UserError: Comet does not take it.
    """
    logging.getLogger("comet_ml").setLevel(logging.WARNING)  # we say where the experiment is
    spec, memory = _spec(session.recipe), session.memory
    is_known = "key" in memory and memory.get("mode") == "online"
    key = memory.setdefault("key", uuid.uuid4().hex)
    memory["mode"] = spec.mode
    folder = session.own_folder("comet") if spec.mode == "offline" else None
    first_step = find_last_step(folder) if folder else float("inf") if is_known else -1
    try:
        with _own_randomness():
            experiment = _start_experiment(session, spec, key, folder)
        is_taken = experiment.alive
    except (CometException, OSError, ValueError):
        is_taken = False
    if not is_taken:
        raise UserError(
            "tracking.comet: Comet did not take the experiment; what it says is above",
            where=session.recipe.where("tracking.comet"),
            todo=f"See that project and workspace are yours. {ADVICE}",
        )
    experiment.disable_mp()  # nothing but what is logged here
    _start_system_metrics(experiment)
    _collect(experiment, session.recipe, spec)
    experiment.log_parameters(flatten_recipe(session.recipe))
    return Comet(spec, experiment, folder, _CometCallback(experiment, first_step))


def _start_experiment(session: Session, spec: CometSpec, key: str, folder: Path | None) -> Any:
    return comet_ml.start(
        online=folder is None,
        # offline too: each session then has an archive of its own, and all go to one experiment
        mode="get_or_create",
        experiment_key=key,
        project_name=spec.project,
        workspace=spec.workspace,
        experiment_config=comet_ml.ExperimentConfig(
            name=hide_secrets(spec.name or session.args.run_name or session.name),
            tags=hide_in(list(spec.tags)),
            # online too: that is where an archive goes when the network is gone
            offline_directory=str(session.own_folder("comet")),
            log_git_metadata="git" in spec.collect,
            log_git_patch="git" in spec.collect,
            auto_output_logging="simple" if "output" in spec.collect else False,
            # packages, host, user and cloud together; what of it is wanted follows below
            log_env_details=False,
            log_code=False,
            log_graph=False,
            parse_args=False,
            auto_param_logging=False,
            auto_metric_logging=False,
            auto_log_co2=False,
            display_summary_level=0,
        ),
    )


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Draw from the system, and leave python's generator as it was.

    comet_ml 3.58 ends the names of archives with random letters. A run that is seeded like the one before
    would draw the same letters, and its archive would replace the earlier one.
    """
    state = random.getstate()
    random.seed()
    try:
        yield
    finally:
        random.setstate(state)


def _spec(recipe: Recipe) -> CometSpec:
    assert recipe.tracking.comet is not None, "only a recipe with tracking.comet has this tracker"
    return recipe.tracking.comet


def _start_system_metrics(experiment: Any) -> None:
    """Follow GPU, CPU, network and disk as Comet does.

    comet_ml 3.58 starts this with `log_env_details` only, which sends the lists of pip and system packages
    and asks cloud providers' addresses as well. The method is private.
    """
    for name in SYSTEM_METRICS:
        setattr(experiment, name, True)
    experiment._start_system_metrics_data_logger()


def _collect(experiment: Any, recipe: Recipe, spec: CometSpec) -> None:
    """Take along what of this machine the recipe asks for."""
    if "packages" in spec.collect:
        experiment.set_pip_packages()
        experiment.set_os_packages()
    if "host" in spec.collect:
        import getpass
        import socket

        experiment.log_others({"hostname": socket.gethostname(), "user": getpass.getuser()})
    if "code" in spec.collect:
        for path in recipe.imports:
            experiment.log_code(path)

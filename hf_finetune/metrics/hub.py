"""Metrics of the Hub: code of other people, run only when the user says so, and only at a pinned revision."""

from __future__ import annotations

import inspect
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hf_finetune.errors import HubError, UserError
from hf_finetune.hub_access import is_reachable, tell_code_allowed
from hf_finetune.metrics.base import METRICS, Array, Metric
from hf_finetune.metrics.modules import load_module
from hf_finetune.patient_reads import patient_reads
from hf_finetune.problems import SINGLE, Labels
from hf_finetune.registry import OptionError

__all__ = ["NAME", "HubMetric", "build_hub_metric", "refuse_remote_code"]

NAME = "hub"
IGNORED = -100


def refuse_remote_code(options: Mapping[str, Any], *, where: str | None) -> None:
    """Say that a metric of the Hub is code, and how to allow it.

    Raises:
        UserError: Always.
    """
    raise UserError(
        f"the metric {options.get('path', 'hub')!r} is code of the Hub, which runs with your rights",
        where=where,
        todo="Read it, then say --trust-remote-code on the command line; a recipe cannot say it.",
    )


@METRICS.register(NAME)
def build_hub_metric(
    space: Labels,
    *,
    path: str,
    revision: str,
    config: str | None = None,
    reads: str = "prediction",
    greater_is_better: bool | None = None,
    **options: Any,
) -> Metric:
    """Build a metric of the Hub: `{name: hub, path: org/metric, revision: <40 hex digits>}`.

    `evaluate.load` itself ignores `revision` without a network and runs the newest module it once cached. So
    the file is fetched at the revision first, from the cache of the Hub client where it is there, and loaded
    by its path. Such a metric keeps every row: on the disk while batches come, in memory at the end.

    Args:
        space: The targets.
        path: The Space that has it, such as evaluate-metric/exact_match.
        revision: A commit of the Space, 40 hex digits.
        config: The module's configuration, such as "multilabel".
        reads: What it is given: "prediction" or "probabilities".
        greater_is_better: Which way is better; needed to choose the best model by it.
        options: For the module's `compute`.

    Raises:
        OptionError: The path or the revision is not one, or the module cannot be used so.
        HubError: The Hub cannot be reached, or has no such module at this revision.
    """
    if not isinstance(path, str) or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", path):
        raise OptionError(f"path must be that of a Space, org/metric, not {path!r}", option="path")
    if not isinstance(revision, str) or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise OptionError(
            f"revision must be a commit of {path}, 40 hex digits, not {revision!r}",
            option="revision",
            todo="A branch or a tag can change under you.",
        )
    if reads not in ("prediction", "probabilities"):
        raise OptionError(f"reads must be prediction or probabilities, not {reads!r}", option="reads")
    if greater_is_better not in (True, False, None):
        raise OptionError("greater_is_better must be true or false", option="greater_is_better")
    tell_code_allowed(path, revision)
    return HubMetric(
        _fetch(path, revision),
        path,
        config=config,
        reads=reads,
        drops_ignored=space.problem_type == SINGLE,
        greater_is_better=greater_is_better,
        options=options,
    )


class HubMetric(Metric):
    """A module of the Hub, fed as `evaluate` feeds one.

    A module that returns one value has one result; whether it does shows at the first `compute`.

    Args:
        script: The module's file.
        path: The Space it comes from, for messages.
        config: Its configuration.
        reads: What it is given.
        drops_ignored: Whether rows labelled -100 are left out, one label being one target.
        greater_is_better: Which way is better, when it is known.
        options: For its `compute`.

    Raises:
        OptionError: It needs packages that are not here, more inputs than two, or has no such option.
    """

    has_many_results = None

    def __init__(
        self,
        script: Path,
        path: str,
        *,
        config: str | None,
        reads: str,
        drops_ignored: bool,
        greater_is_better: bool | None,
        options: Mapping[str, Any],
    ) -> None:
        import evaluate

        self.result_name, self.greater_is_better = script.stem.replace("-", "_"), greater_is_better
        self._path, self._reads, self._drops_ignored = path, reads, drops_ignored
        self._options, self._num_rows = dict(options), 0
        # a folder of its own: no other process waits for its locks, and all of it goes when this goes
        Path(evaluate.config.HF_EVALUATE_CACHE).mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix="hf-finetune-", dir=evaluate.config.HF_EVALUATE_CACHE)
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        try:
            self._module = load_module(script, config, cache_dir=folder)
        except ImportError as error:
            raise OptionError(str(error), option="path") from error
        features = self._module.features
        inputs = [
            key for key in (features[0] if isinstance(features, list) else features) if key != "references"
        ]
        if len(inputs) != 1:
            raise OptionError(
                f"{path} wants {' and '.join(inputs)}; only one input can be given", option="path"
            )
        (self._input,) = inputs
        known = inspect.signature(self._module._compute).parameters
        for option in options:
            if option not in known and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
                raise OptionError(f"{path} has no option {option!r}", option=option)

    def update(self, reduced: Mapping[str, Array], labels: Array) -> None:
        """Hand one batch on."""
        values = reduced[self._reads]
        if self._drops_ignored:
            values, labels = values[labels != IGNORED], labels[labels != IGNORED]
        if len(labels):
            self._num_rows += len(labels)
            with self._explaining():
                self._module.add_batch(**{self._input: values, "references": labels})

    def compute(self) -> Any:
        """Return what the module does: its one value, or its values by name; NaN without rows."""
        if not self._num_rows:
            return float("nan")
        self._num_rows = 0
        with self._explaining():
            result = self._module.compute(**self._options)
        return next(iter(result.values())) if isinstance(result, Mapping) and len(result) == 1 else result

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # code of other people: it can raise anything
            raise UserError(
                f"the metric {self._path!r} failed: {error}",
                todo="Check its options and what it `reads` against its page on the Hub.",
            ) from error


def _fetch(path: str, revision: str) -> Path:
    """Return the module's file at a revision; what it imports from its own Space lies beside it."""
    from evaluate.loading import get_imports

    script = _download(path, f"{path.rpartition('/')[2]}.py", revision)
    for kind, name, source, _ in get_imports(str(script)):
        if kind == "external":
            raise OptionError(f"{path} fetches code from {source}, which no revision pins", option="path")
        if kind == "internal":
            _download(path, f"{name}.py", revision)
    return script


def _download(path: str, file: str, revision: str) -> Path:
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    # a commit never changes: what is in the cache needs no question
    cached = try_to_load_from_cache(path, file, revision=revision, repo_type="space")
    if isinstance(cached, str):
        return Path(cached)
    if not is_reachable():
        raise HubError(
            f"{constants.ENDPOINT} cannot be reached, and {file} of {path} at revision {revision} is not in "
            f"the cache {constants.HF_HUB_CACHE}",
            todo="Connect once to fetch it, or unset HF_HUB_OFFLINE if that is set.",
        )
    try:
        with patient_reads():
            return Path(hf_hub_download(path, file, revision=revision, repo_type="space"))
    except OSError as error:
        raise HubError(
            f"{file} of {path} at revision {revision} could not be fetched: {error}",
            todo=f"Check the path and the revision at {constants.ENDPOINT}/spaces/{path}.",
        ) from error

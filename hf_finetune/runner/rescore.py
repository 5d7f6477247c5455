"""`evaluate`: a finished run's best model scored again, on the data of the run or on any others."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import TrainingArguments, set_seed

from hf_finetune.data.rows import sum_seconds
from hf_finetune.data.scored import Asked, ScoredSplit, build_scored
from hf_finetune.engines.evaluation import evaluate as score
from hf_finetune.errors import DataError, ModelError, RecipeError
from hf_finetune.formatting import wilson_interval
from hf_finetune.metrics import MetricSet, build_metrics
from hf_finetune.metrics.transcript_notes import TranscriptNotes
from hf_finetune.model import load_model
from hf_finetune.problems import TEXT
from hf_finetune.recipe import Recipe, import_user_files
from hf_finetune.runner.hops import build_parts, read_training, tell_data
from hf_finetune.runner.tally import ClassTally, PerClass, TallyingMetrics, tell_classes
from hf_finetune.tasks.matching import Unknown
from hf_finetune.terminal import TerminalProgress
from hf_finetune.trained import Trained, build_trained_task, find_trained
from hf_finetune.transcript_words import tell_notes

__all__ = ["Evaluation", "evaluate"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation(Mapping[str, float]):
    """What a trained model scores on some rows; as a mapping, its scores by name.

    Args:
        split: "eval" or "test".
        scores: Name -> value, as in `scores.json`.
        rows: How many rows were scored.
        dropped: Rows that could not be used, where the recipe says to drop them.
        intervals: Name -> where the true value lies, 95 times in a hundred, for scores that are a share of
            the rows (Wilson) and for error rates of text (`find_interval`); the others have none.
        classes: Class -> its scores; empty where nothing is classified.
        absent_classes: Classes of the model that no row has.
        unknown_classes: Class that the model does not know -> labels of it, each of them a mistake.
        known_only: Scores that leave the labels of unknown classes out.
        transcripts: Of texts: what `TranscriptNotes.to_json` finds, such as rows with nothing written.
    """

    split: str
    scores: Mapping[str, float]
    rows: int
    dropped: int = 0
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    classes: Mapping[str, PerClass] = field(default_factory=dict)
    absent_classes: tuple[str, ...] = ()
    unknown_classes: Mapping[str, int] = field(default_factory=dict)
    known_only: tuple[str, ...] = ()
    transcripts: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        return self.scores[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    def to_json(self) -> dict[str, Any]:
        """Return the scores by name, and beside them all else; what is not a finite number is None."""
        scores = {name: value if math.isfinite(value) else None for name, value in self.scores.items()}
        facts: dict[str, Any] = {"split": self.split, "rows": self.rows}
        if self.dropped:
            facts["dropped"] = self.dropped
        facts["interval"] = {name: list(interval) for name, interval in self.intervals.items()}
        if self.classes:
            facts["classes"] = {name: one.to_json() for name, one in self.classes.items()}
            facts["absent_classes"] = list(self.absent_classes)
        if self.unknown_classes:
            facts["unknown_classes"] = dict(self.unknown_classes)
            facts["known_only"] = list(self.known_only)
        facts |= self.transcripts
        return {**scores, **{name: fact for name, fact in facts.items() if name not in scores}}


def evaluate(
    source: str | Path,
    *,
    split: str | None = None,
    overrides: Sequence[str] = (),
    unknown_labels: Unknown = "refuse",
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    allow_imports: bool | None = None,
) -> Evaluation:
    """Score the best model of a finished run again.

    With the recipe as it is, on the kind of machine that trained, these are the scores of `scores.json` to
    the last digit. Another batch size (`training.per_device_eval_batch_size`) adds up in another order: what
    counts rows stays the same, the loss and what goes by probabilities may differ in a float's last digits.

    Other data (`data.path=...`) are numbered by the names of the model's classes, whatever their order. Only
    the split that is scored is prepared.

    Args:
        source: A run folder, or `owner/name` on the Hub, with `@revision`.
        split: "eval" or "test"; when left out the test split, or the only one of another data set.
        overrides: `dotted.key=value` of the recipe, such as another `data.path`.
        unknown_labels: "refuse" rows of classes that the model does not know, or count them as "wrong": each
            such class is then one more, as scikit-learn counts; `known_only` names the scores that cannot.
        trust_remote_code: Run code that comes with the model, its checkpoint or a metric of the Hub.
        allow_pickle: Read weights from a pickle where there are no safetensors; tensors only.
        allow_imports: Run the `imports` of the run's recipe, or leave them out, wherever the folder is from.

    Raises:
        RunFolderError: There is no finished run.
        DataError: Which split is meant cannot be told, or its labels are not those of the model.
        HubError: The run, its data or its checkpoint cannot be fetched.
    """
    if split not in (None, "eval", "test"):
        raise DataError(
            f"there is no split {split!r} to score",
            where=str(source),
            todo=f"Use eval or test; other rows by --split test data.splits.test={split}.",
        )
    if unknown_labels not in ("refuse", "wrong"):
        raise DataError(f"unknown labels are refused or wrong, not {unknown_labels!r}", where=str(source))
    trained = find_trained(
        source,
        overrides=overrides,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        allow_imports=allow_imports,
    )
    recipe = trained.recipe
    import_user_files(recipe)
    task = build_trained_task(trained, trust_remote_code=trust_remote_code)
    _, _, args = read_training(recipe, task)
    processor = task.load_processor(trained.as_checkpoint(), trust_remote_code=trust_remote_code)
    space = task.read_space(trained.scores, processor)
    set_seed(args.seed)  # what adapters lie on may be random
    model = load_model(trained.folder, recipe, task, space, trust_remote_code=trust_remote_code)
    _require_own_names(model, space, trained)
    with args.main_process_first():  # the other processes then find it cached
        asked = _read_wish(trained, split, overrides)
        found = build_scored(
            recipe, task, processor, space, asked=asked, unknown=unknown_labels, seed=args.seed
        )
    tell_data(found.notes, found.dropped)
    specs = recipe.metrics or tuple(task.default_metrics(space))
    metrics = build_metrics(specs, space, where=recipe.where, trust_remote_code=trust_remote_code)
    tally = ClassTally(space, found.matched.unknown)
    parts = build_parts(
        recipe,
        task,
        space,
        args=args,
        count_labels=lambda: _read_counts(trained),
        model=model,
        train_dataset=None,
        eval_dataset=found.rows,
        metrics=TallyingMetrics(metrics, tally, found.unknown_labels),
    )
    with TerminalProgress() as progress:
        notes = TranscriptNotes(metrics)
        takes = notes if space.problem_type in TEXT else None
        step = progress.track(found.name)
        scores = score(parts, found.rows, prefix=found.name, on_batch=takes, on_step=step)
    plain = {name.removeprefix(f"{found.name}_"): value for name, value in scores.items()}
    told = notes.to_json(audio_s=sum_seconds(found.rows.raw, task), runtime_s=plain["runtime"])
    return _describe(found, plain, metrics, tally, told)


def _read_wish(trained: Trained, split: str | None, overrides: Sequence[str]) -> Asked:
    """Find out which rows are meant, of which data."""
    recipe, recorded = trained.recipe, trained.recorded
    own = ("data=", "data.splits=", f"data.splits.{split or 'test'}=")
    rows = trained.scores.get("rows")
    is_known = isinstance(rows, Mapping) and {"train", "eval"} <= rows.keys()
    return Asked(
        split=split,
        is_other=_place(recipe) != _place(recorded),
        names_split=any(word.startswith(own) for word in overrides),
        is_divided_anew=_seed(recipe) != _seed(recorded) or recipe.data.holdout != recorded.data.holdout,
        num_divided=rows["train"] + rows["eval"] if isinstance(rows, Mapping) and is_known else None,
    )


def _place(recipe: Recipe) -> tuple[Any, ...]:
    """Return what says which data set it is; a path is the same however it is written."""
    path = Path(recipe.data.path).expanduser()
    others = [getattr(recipe.data, key) for key in ("name", "revision", "data_dir", "data_files", "options")]
    return str(path.resolve()) if path.exists() else recipe.data.path, *others


def _seed(recipe: Recipe) -> int:
    return int(recipe.training.get("seed", TrainingArguments.seed))


def _require_own_names(model: Any, space: Any, trained: Trained) -> None:
    """Refuse a model whose classes are not those of the run: its scores would be of other classes."""
    named = dict(getattr(model.config, "id2label", None) or {})
    own = [str(named[number]) for number in sorted(named)]
    if space.names and own != list(space.names):
        raise ModelError(
            f"the model's config has other classes than scores.json: {', '.join(own[:5])} and not "
            f"{', '.join(space.names[:5])}",
            where=str(trained.folder),
            todo="Use the folder as the run left it.",
        )


def _read_counts(trained: Trained) -> list[int]:
    """Return the training rows of each class, for the weights of the loss, as the run counted them."""
    part = trained.scores.get("train")
    counts = part.get("rows_per_class") if isinstance(part, Mapping) else None
    if not counts:
        raise RecipeError(
            "class_weights: balanced goes by the training rows of each class, and this run did not write "
            "them down",
            where=trained.recipe.where("loss.class_weights"),
            todo="Give the weights: loss.class_weights=[1.0, ...].",
        )
    return list(counts)


def _describe(
    found: ScoredSplit,
    scores: Mapping[str, float],
    metrics: MetricSet,
    tally: ClassTally,
    transcripts: Mapping[str, Any],
) -> Evaluation:
    """Put together what is known, and say what the reader of a score must know."""
    classes = tally.score()
    unknown = {name: classes[name].rows for name in found.matched.unknown}
    absent = tuple(name for name in tally.own if not classes[name].rows)
    tell_classes(found.name, len(found.rows), absent, unknown)
    for sentence in tell_notes(found.name, transcripts):
        logger.warning(sentence)
    shares = {
        name: wilson_interval(scores[name], len(found.rows))
        for name in metrics.shares
        if name in scores and 0 <= scores[name] <= 1
    }
    shares |= {name: tuple(interval) for name, interval in transcripts.get("interval", {}).items()}
    return Evaluation(
        split=found.name,
        scores=scores,
        rows=len(found.rows),
        dropped=sum(map(len, found.dropped.values())),
        intervals=shares,
        classes=classes,
        absent_classes=absent,
        unknown_classes=unknown,
        known_only=("loss", *metrics.names_known_only) if unknown else (),
        transcripts={name: fact for name, fact in transcripts.items() if name not in ("rows", "interval")},
    )

"""The recipe: everything a run needs to know, in one frozen value."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from hf_finetune.recipe.hub_spec import HubSpec
from hf_finetune.recipe.model_spec import ModelSpec
from hf_finetune.recipe.places import Finding
from hf_finetune.recipe.secret_checks import find_secrets
from hf_finetune.recipe.specs import (
    DataSpec,
    EarlyStoppingSpec,
    GuardSpec,
    NamedSpec,
    Spec,
    SweepSpec,
    TaskSpec,
    Text,
)
from hf_finetune.recipe.tracking_spec import TrackingSpec
from hf_finetune.recipe.training_checks import check_training, unknown_training_key
from hf_finetune.recipe.training_fields import training_fields
from hf_finetune.recipe.validation import finding_error, raise_findings
from hf_finetune.recipe.wording import find_near
from hf_finetune.recipe.yaml12 import dump
from hf_finetune.secrecy import hide_in

__all__ = ["Recipe"]


class Recipe(Spec):
    """What to train, on which data, how. Made by `load_recipe`; `Recipe(...)` checks the same things.

    Example:
        >>> recipe = Recipe(
        ...     task="image-classification",
        ...     model={"checkpoint": "google/vit-base-patch16-224"},
        ...     data={"path": "imagefolder", "data_dir": "pictures"},
        ...     metrics=["accuracy", {"name": "f1", "average": "macro"}],
        ...     training={"learning_rate": 5e-5},
        ... )
        >>> recipe.metrics[1].options
        {'average': 'macro'}
    """

    task: TaskSpec
    """What the model is trained for."""

    model: ModelSpec
    """The pre-trained checkpoint, and what of it is trained."""

    data: DataSpec
    """The data set: where it is, how it is split, which columns are used."""

    imports: tuple[Annotated[str, Field(pattern=r"\.py$")], ...] = ()
    """Python files, relative to this recipe, that register the user's own tasks, metrics, losses ..."""

    metrics: tuple[NamedSpec, ...] = ()
    """What is measured on the evaluation and test splits; the task's own metrics when left out."""

    loss: NamedSpec | None = None
    """What is minimised; the task's own loss when left out."""

    engine: Text = "trainer"
    """Who trains: trainer (Trainer of transformers), accelerate (the readable loop), or a registered one."""

    training: dict[str, Any] = Field(default_factory=dict)
    """TrainingArguments of transformers, by their own names."""

    guard: GuardSpec = GuardSpec()
    """What to do when a loss or a gradient norm becomes NaN or infinite."""

    early_stopping: EarlyStoppingSpec | None = None
    """When to stop before the last epoch; never when left out."""

    baseline: Literal["from-scratch"] | None = None
    """Train this too, in as many updates, and report the difference."""

    tracking: TrackingSpec = TrackingSpec()
    """Where the run is followed."""

    hub: HubSpec = HubSpec()
    """Where the best model is pushed to."""

    sweep: SweepSpec | None = None
    """A search for better settings; this version does not search yet, and refuses it."""

    expected: dict[str, Any] = Field(default_factory=dict)
    """What a run of this recipe was measured to give, for the reader and for the recipe table."""

    _source: Path = PrivateAttr(default=Path("recipe"))
    _places: dict[str, str] = PrivateAttr(default_factory=dict)
    _is_local: bool = PrivateAttr(default=True)
    _may_unpickle: bool = PrivateAttr(default=False)

    @property
    def source(self) -> Path:
        """The file it was loaded from; `recipe` when it was made in Python."""
        return self._source

    @property
    def is_local(self) -> bool:
        """Whether it comes from this machine's user, not from the Hub: only then may it import code."""
        return self._is_local

    @property
    def may_unpickle(self) -> bool:
        """Whether weights may come as a pickle; a word of whoever starts the run, never of a recipe."""
        return self._may_unpickle

    def allow_pickle(self) -> Recipe:
        """Return the same recipe for a run that may read weights from a pickle."""
        allowed = self.model_copy()
        allowed._may_unpickle = True
        return allowed

    def where(self, key: str) -> str:
        """Return where a key is written, for messages.

        Args:
            key: Dotted, as in `data.augment.0.name`; when it is not written, its nearest parent's place.

        Returns:
            `file:line:column`, or `<override> key=value`.
        """
        parts = key.split(".")
        for length in range(len(parts), 0, -1):
            if place := self._places.get(".".join(parts[:length])):
                return place
        return f"{os.fspath(self._source)}:1:1" if self._places else os.fspath(self._source)

    def to_yaml(self) -> str:
        """Return everything, defaults too, as YAML that `load_recipe` takes; a secret is redacted."""
        return dump(hide_in(self.model_dump()))

    def __eq__(self, other: object) -> bool:
        """Compare what is said, not where."""
        return isinstance(other, Recipe) and self.__dict__ == other.__dict__

    @field_validator("training")
    @classmethod
    def _check_training(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        metrics = info.data.get("metrics")
        names = [spec.name for spec in metrics or ()]
        # the task's own metrics, and what the user's own and those of the Hub give, are not known here
        is_known = names and "hub" not in names and info.data.get("imports") == ()
        raise_findings(check_training(value, metrics=names if is_known else None))
        return value

    @field_validator("early_stopping")
    @classmethod
    def _check_stopping(
        cls, value: EarlyStoppingSpec | None, info: ValidationInfo
    ) -> EarlyStoppingSpec | None:
        if value is not None and info.data.get("training", {}).get("eval_strategy") == "no":
            raise finding_error(
                "it follows the evaluations, and training.eval_strategy is no", "Evaluate every epoch."
            )
        return value

    @field_validator("sweep")
    @classmethod
    def _check_space(cls, value: SweepSpec | None) -> SweepSpec | None:
        findings = []
        for key in value.space if value else ():
            section, _, rest = key.partition(".")
            if section not in cls.model_fields or section in ("sweep", "imports", "expected"):
                near = find_near(section, cls.model_fields)
                todo = f"Did you mean '{near}'?" if near else "Write for example training.learning_rate."
                findings.append(Finding(("space", key), "no such key in a recipe", todo, is_about_key=True))
            elif section == "training" and rest not in training_fields():
                unknown = unknown_training_key(rest)
                findings.append(Finding(("space", key), unknown.what, unknown.todo, is_about_key=True))
        raise_findings(findings)
        return value

    @model_validator(mode="after")
    def _has_no_secrets(self) -> Recipe:
        raise_findings(find_secrets(self.model_dump()))
        return self

    @field_validator("imports")
    @classmethod
    def _check_imports(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        findings = [
            Finding((index,), f"there is no file '{name}'", "Paths are relative to the recipe.")
            for index, name in enumerate(value)
            if not Path(name).is_file()
        ]
        raise_findings(findings)
        return tuple(os.fspath(Path(name).resolve()) for name in value)

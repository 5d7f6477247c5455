"""The sections of a recipe: frozen, every key known, every field explained by the line below it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema, ValidationError

from hf_finetune.recipe.places import Finding
from hf_finetune.recipe.task_options import TASK_OPTIONS, check_options
from hf_finetune.recipe.validation import finding_error, raise_findings
from hf_finetune.recipe.wording import describe, find_near, hint

__all__ = [
    "DataSpec",
    "EarlyStoppingSpec",
    "GuardSpec",
    "Named",
    "NamedSpec",
    "SpaceSpec",
    "Spec",
    "SplitsSpec",
    "SweepSpec",
    "TaskSpec",
    "Text",
]

Text: TypeAlias = Annotated[str, Field(min_length=1)]


class Spec(BaseModel):
    """Base of all sections."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Named(Spec):
    """A name with options beside it; the name alone is the short form.

    In a recipe `f1` and `{name: f1, average: macro}`; as an object `name` and `options`.
    """

    name_key: ClassVar[str] = "name"

    options: dict[str, Any] = Field(default_factory=dict)
    """Everything written beside the name."""

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {cls.name_key: value}
        if not isinstance(value, Mapping):
            what = f"got {describe(value)}, expected a name, or a mapping with the name and its options"
            raise finding_error(what, f"Write {{{cls.name_key}: ..., option: value}}.")
        declared = {key: value[key] for key in cls.model_fields if key in value and key != "options"}
        beside = {key: item for key, item in value.items() if key not in cls.model_fields}
        for key in beside:
            near = find_near(str(key), [name for name in cls.model_fields if name not in value])
            if near and near != "options":
                raise_findings([Finding((key,), "unknown key", f"Did you mean '{near}'?", is_about_key=True)])
        options = value.get("options", {})
        return {**declared, "options": {**beside, **options} if isinstance(options, Mapping) else options}

    @model_serializer
    def _scatter_options(self) -> dict[str, Any] | str:
        declared = {key: getattr(self, key) for key in type(self).model_fields if key != "options"}
        flat = {key: item for key, item in declared.items() if item is not None} | self.options
        return str(flat[self.name_key]) if len(flat) == 1 else flat

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        schema = handler.resolve_ref_schema(handler(core_schema))
        schema["properties"].pop("options")
        schema["additionalProperties"] = True
        title, text = schema.pop("title"), schema.pop("description", "")
        return {"title": title, "description": text, "anyOf": [{"type": "string", "minLength": 1}, schema]}


class NamedSpec(Named):
    """A metric, a loss or an augmentation: its registered name, alone or with options beside it."""

    name: Text
    """Name in the registry."""


class TaskSpec(Named):
    """What the model is trained for: the task's name, alone or with options beside it."""

    name: Text
    """Pipeline tag of the Hub, such as image-classification."""

    problem_type: (
        Literal["single_label_classification", "multi_label_classification", "regression"] | None
    ) = None
    """What a label is; found out from the label column when left out."""

    @model_validator(mode="after")
    def _has_known_options(self) -> TaskSpec:
        check_options(self.name, self.options)
        if self.name == "automatic-speech-recognition" and self.problem_type is not None:
            what = f"{self.name} has no such option: its labels are text"
            raise_findings([Finding(("problem_type",), what, "Remove it.", is_about_key=True)])
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        schema["anyOf"][1]["allOf"] = [
            {
                "if": {"properties": {"name": {"const": name}}},
                "then": {"properties": options.model_json_schema()["properties"]},
            }
            for name, options in TASK_OPTIONS.items()
        ]
        return schema


class SplitsSpec(Spec):
    """Which splits are for what; slices as in `train[:90%]` are allowed."""

    train: Text = "train"
    """Split to learn from."""

    eval: Text | None = None
    """Split to evaluate on while training; a share of train is held out when there is none."""

    test: Text | None = None
    """Split for the final scores, looked at once."""


def _whole_or_nothing(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(value)
    except ValidationError:
        expected = "a file name, a list of file names, or a mapping from split to file names"
        raise finding_error(f"got {describe(value)}, expected {expected}") from None


DataFiles: TypeAlias = Annotated[
    Text | list[Text] | dict[str, Text | list[Text]], WrapValidator(_whole_or_nothing)
]


class DataSpec(Spec):
    """The data set: where it is, how it is split, which columns are used."""

    path: Text
    """What datasets.load_dataset takes: Hub id, folder, or a format such as imagefolder, csv or parquet."""

    name: Text | None = None
    """Configuration of a data set that has several."""

    revision: Text | None = None
    """Commit, tag or branch of a Hub data set; a commit of 40 hex digits keeps it from changing."""

    data_dir: Text | None = None
    """Folder with the files, for formats such as imagefolder."""

    data_files: DataFiles | None = None
    """Files to read: one, a list, or a mapping from split to files."""

    splits: SplitsSpec = SplitsSpec()
    """Which splits are for what."""

    holdout: Annotated[StrictFloat, Field(gt=0, lt=1)] = 0.1
    """Share of the training split that is held out for evaluation when splits.eval is not given."""

    columns: dict[str, Text | None] = Field(default_factory=dict)
    """Role in the task, such as image or label, to column; found out from the features when left out."""

    augment: tuple[NamedSpec, ...] = ()
    """Random changes of the training rows, in this order."""

    bad_rows: Literal["stop", "drop"] = "stop"
    """What to do about a row that cannot be read: end with its number, or leave it out and count it."""

    compare_files: Literal["times", "content"] = "times"
    """How changed files are noticed: by size and times, or by reading all of them at each start."""

    num_proc: Annotated[StrictInt, Field(ge=1)] | None = None
    """Processes that prepare the data."""

    options: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of datasets.load_dataset."""


class GuardSpec(Spec):
    """What to do when a loss or a gradient norm becomes NaN or infinite."""

    max_skips: Annotated[StrictInt, Field(ge=0)] = 0
    """Updates that may be skipped for it before the run stops."""


class EarlyStoppingSpec(Spec):
    """When to stop before the last epoch, because the metric that decides gets no better."""

    patience: Annotated[StrictInt, Field(ge=1)] = 3
    """Evaluations in a row without improvement."""

    threshold: Annotated[StrictFloat, Field(ge=0)] = 0.0
    """How much better counts as improvement."""


def _one_number(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(value)
    except ValidationError:
        raise finding_error(f"got {describe(value)}, expected a number", hint(value, {"float"})) from None


# a union, so that a whole number stays one
Number: TypeAlias = Annotated[StrictInt | StrictFloat, WrapValidator(_one_number)]


class SpaceSpec(Spec):
    """The values of one setting to search: a range, or choices."""

    low: Number | None = None
    """Lowest value of a range."""

    high: Number | None = None
    """Highest value of a range."""

    log: StrictBool = False
    """Search the range on a logarithmic scale."""

    step: Number | None = None
    """Distance between the values of a range."""

    choices: tuple[Any, ...] = ()
    """Values to choose from, instead of a range."""

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return {"choices": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _is_range_or_choices(self) -> SpaceSpec:
        has_range = self.low is not None and self.high is not None
        if has_range == bool(self.choices) or (self.low is None) != (self.high is None):
            raise finding_error(
                "expected low and high, or choices", "Write {low: 1e-5, high: 1e-3, log: true}."
            )
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise finding_error(f"low ({self.low}) is not below high ({self.high})", "Exchange them.")
        if self.step is not None and self.step <= 0:
            raise finding_error(f"got step {self.step}, expected a number above 0")
        if self.log and not (self.low and self.low > 0):
            raise finding_error(f"a logarithmic range begins above 0, got low {self.low}", "Raise it.")
        return self


class SweepSpec(Spec):
    """A search for better settings: many short runs of this recipe."""

    method: Literal["tpe", "random", "grid"] = "tpe"
    """How the next trial is chosen."""

    trials: Annotated[StrictInt, Field(ge=1)] = 20
    """Number of runs."""

    space: Annotated[dict[str, SpaceSpec], Field(min_length=1)]
    """Dotted key of the recipe, such as training.learning_rate, to the values to try."""

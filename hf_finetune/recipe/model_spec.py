"""`model:` of a recipe: the checkpoint, and what of it is trained."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, GetJsonSchemaHandler, StrictBool, model_validator
from pydantic_core import CoreSchema

from hf_finetune.recipe.peft_checks import check_peft, option_schemas
from hf_finetune.recipe.peft_fields import peft_methods
from hf_finetune.recipe.places import Finding
from hf_finetune.recipe.specs import Named, Spec, Text
from hf_finetune.recipe.validation import raise_findings

__all__ = ["ModelSpec", "PeftSpec"]

USUAL = ("lora", "adalora", "ia3", "prefix_tuning", "prompt_tuning")
"""Methods whose options editors offer; those of all forty would make the schema ten times as long."""


class PeftSpec(Named):
    """Parameter-efficient fine-tuning: the method's name, alone or with its options beside it."""

    name_key: ClassVar[str] = "method"

    method: Text
    """Method of the PEFT library, such as lora."""

    merge: StrictBool | None = None
    """Keep the best model whole, with the adapters added into its weights; false keeps the adapters alone."""

    @model_validator(mode="after")
    def _has_known_options(self) -> PeftSpec:
        raise_findings(check_peft(self.method, self.options))
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        schema["anyOf"][1]["properties"]["method"]["examples"] = list(peft_methods())
        schema["anyOf"][1]["allOf"] = [
            {
                "if": {"properties": {"method": {"const": method}}},
                "then": {"properties": option_schemas(method)},
            }
            for method in USUAL
        ]
        return schema


class ModelSpec(Spec):
    """The pre-trained checkpoint, and what of it is trained."""

    checkpoint: Text
    """Hub id or folder of the pre-trained model."""

    revision: Text | None = None
    """Commit, tag or branch of a Hub checkpoint; a commit of 40 hex digits keeps it from changing."""

    from_scratch: StrictBool = False
    """Take only the architecture of the checkpoint and begin from random weights."""

    peft: PeftSpec | None = None
    """Train small adapters instead of all weights."""

    freeze: tuple[Text, ...] = ()
    """Globs on parameter names; what they match keeps its value."""

    config: dict[str, Any] = Field(default_factory=dict)
    """Values of the checkpoint's config.json to change."""

    @model_validator(mode="after")
    def _fits_adapters(self) -> ModelSpec:
        if self.peft is not None and self.from_scratch:
            what = "adapters do not train the weights below them, and those would be random"
            raise_findings([Finding(("from_scratch",), what, "Remove one of peft and from_scratch.")])
        if self.peft is not None and self.freeze:
            what = "with adapters every weight of the checkpoint keeps its value: there is nothing to freeze"
            todo = "Remove freeze; peft.exclude_modules leaves modules without adapters."
            raise_findings([Finding(("freeze",), what, todo, is_about_key=True)])
        return self

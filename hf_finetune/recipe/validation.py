"""Our findings as errors that pydantic takes from a validator."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from hf_finetune.recipe.places import Finding

__all__ = ["ERROR_TYPE", "details_of", "finding_error", "raise_findings"]

ERROR_TYPE = "recipe"
"""`type` of an error whose `ctx` holds the fields of a Finding."""


def finding_error(what: str, todo: str | None = None, *, is_about_key: bool = False) -> PydanticCustomError:
    """Make the error a validator raises about the value it is given."""
    message = "{what}. {todo}" if todo else "{what}"
    return PydanticCustomError(
        ERROR_TYPE, message, {"what": what, "todo": todo, "is_about_key": is_about_key}
    )


def details_of(finding: Finding) -> InitErrorDetails:
    """Make of a finding what pydantic makes a ValidationError of."""
    kind = finding_error(finding.what, finding.todo, is_about_key=finding.is_about_key)
    return InitErrorDetails(type=kind, loc=finding.path, input=None)


def raise_findings(findings: Iterable[Finding]) -> None:
    """Raise one error for several keys below the value a validator is given; nothing when there are none."""
    if errors := [details_of(finding) for finding in findings]:
        raise ValidationError.from_exception_data("recipe", errors)

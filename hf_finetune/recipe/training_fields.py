"""What TrainingArguments takes, read from its source: importing it costs seconds, reading it milliseconds."""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hf_finetune.errors import HfFinetuneError, UserError
from hf_finetune.recipe.annotations import MISSING, read_annotation, read_enum, read_literal

__all__ = ["TrainingField", "known_trackers", "training_fields"]

_SOURCES = [("training_args", "TrainingArguments"), ("training_args_seq2seq", "Seq2SeqTrainingArguments")]


@dataclass(frozen=True, slots=True)
class TrainingField:
    """One field of TrainingArguments.

    Args:
        name: Of the field.
        kinds: What a recipe may say: int, float, bool, str, list, dict, null; empty for Python objects.
        choices: The only texts that are taken; empty when any is.
        items: The only texts that are taken in a list; empty when any is.
        default: What transformers uses; None also where it is not a plain value.
        help: What transformers says about it.
    """

    name: str
    kinds: frozenset[str]
    choices: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    default: Any = None
    help: str = ""


@cache
def training_fields() -> dict[str, TrainingField]:
    """Return the fields of TrainingArguments and Seq2SeqTrainingArguments of the installed transformers.

    Raises:
        UserError: transformers is not installed.
        HfFinetuneError: Its source is not as this reader knows it.
    """
    fields: dict[str, TrainingField] = {}
    for module, class_name in _SOURCES:
        tree = _parse(module)
        body = next((n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == class_name), [])
        origins = _origins(tree, module)
        for statement in body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                field = _read_field(statement.target.id, statement, origins)
                fields[field.name] = field
    if "learning_rate" not in fields:
        raise HfFinetuneError("the source of TrainingArguments is not as expected: no field was found in it")
    return fields


@cache
def known_trackers() -> tuple[str, ...]:
    """Return what `report_to` takes, apart from 'all' and 'none'; empty when it cannot be read."""
    for node in _parse("integrations/integration_utils").body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if names == ["INTEGRATION_TO_CALLBACK"]:
                return tuple(str(ast.literal_eval(key)) for key in node.value.keys if key is not None)
    return ()


@cache
def _folder() -> Path:
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        raise UserError("transformers is not installed", todo="Run `pip install hf-finetune`.")
    return Path(spec.origin).parent


@cache
def _parse(module: str) -> ast.Module:
    return ast.parse((_folder() / f"{module}.py").read_text(encoding="utf-8"))


def _origins(tree: ast.Module, module: str) -> dict[str, str]:
    """Return in which module of transformers each name is defined."""
    origins = {node.name: module for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            origins |= {alias.asname or alias.name: node.module.replace(".", "/") for alias in node.names}
    return origins


def _read_field(name: str, statement: ast.AnnAssign, origins: dict[str, str]) -> TrainingField:
    allowed = read_annotation(statement.annotation, lambda name: _enum_values(name, origins.get(name)))
    kinds = set(allowed.kinds)
    keywords = statement.value.keywords if isinstance(statement.value, ast.Call) else []
    arguments = {keyword.arg: keyword.value for keyword in keywords}
    metadata = _read_dict(arguments.get("metadata"))
    if metadata.get("const") is True:  # a bare --flag on the command line means true
        kinds |= {"bool"}
    default = read_literal(arguments.get("default"))
    return TrainingField(
        name=name,
        kinds=frozenset(kinds),
        choices=allowed.choices or tuple(metadata.get("choices", ())),
        items=allowed.items,
        default=None if default is MISSING else default,
        help=" ".join(str(metadata.get("help", "")).replace("%%", "%").split()),
    )


@cache
def _enum_values(name: str, module: str | None) -> tuple[str, ...]:
    if module is None or not (_folder() / f"{module}.py").is_file():
        return ()
    return read_enum(_parse(module), name)


def _read_dict(node: ast.expr | None) -> dict[str, Any]:
    if not isinstance(node, ast.Dict):
        return {}
    pairs = [
        (read_literal(k) if k else MISSING, read_literal(v))
        for k, v in zip(node.keys, node.values, strict=True)
    ]
    return {k: v for k, v in pairs if isinstance(k, str) and v is not MISSING}

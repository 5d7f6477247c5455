"""The methods of PEFT and their options, read from its source: importing it costs seconds."""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hf_finetune.errors import HfFinetuneError, UserError
from hf_finetune.recipe.annotations import Allowed, read_annotation, read_enum

__all__ = ["PeftField", "peft_fields", "peft_methods"]


@dataclass(frozen=True, slots=True)
class PeftField:
    """One option of a method.

    Args:
        name: Of the option.
        allowed: What a recipe may say; without kinds it takes a Python object only.
        help: What PEFT says about it.
    """

    name: str
    allowed: Allowed
    help: str = ""


@cache
def peft_methods() -> dict[str, str]:
    """Return the methods of the installed PEFT, each with the name of its config class.

    Raises:
        UserError: PEFT is not installed.
        HfFinetuneError: Its source is not as this reader knows it.
    """
    found: dict[str, str] = {}
    for file in sorted((_folder() / "tuners").glob("*/__init__.py")):
        for node in ast.walk(_parse(file)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "register_peft_method":
                told = {keyword.arg: keyword.value for keyword in node.keywords}
                name, config = told.get("name"), told.get("config_cls")
                if isinstance(name, ast.Constant) and config is not None:
                    found[str(name.value)] = ast.unparse(config)
    if "lora" not in found:
        raise HfFinetuneError("the source of PEFT is not as expected: no method was found in it")
    return dict(sorted(found.items()))


@cache
def peft_fields(method: str) -> dict[str, PeftField]:
    """Return the options of a method, those of the classes its config builds on first.

    Args:
        method: Of `peft_methods()`.
    """
    return _fields_of(peft_methods()[method])


def _fields_of(class_name: str) -> dict[str, PeftField]:
    file, node = _find_class(class_name)
    if file is None or node is None:  # object, PushToHubMixin ...
        return {}
    fields: dict[str, PeftField] = {}
    for base in node.bases:
        fields |= _fields_of(ast.unparse(base))
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
            allowed = read_annotation(statement.annotation, _enum_values)
            if statement.value is not None and _begins_as_none(statement.value):
                allowed |= Allowed(frozenset({"null"}))
            fields[name] = PeftField(name, allowed, _help(statement.value))
    return fields


def _begins_as_none(value: ast.expr) -> bool:
    """Whether a field's default is None, whatever its annotation says."""
    if isinstance(value, ast.Call):
        return any(k.arg == "default" and ast.unparse(k.value) == "None" for k in value.keywords)
    return ast.unparse(value) == "None"


def _help(value: ast.expr | None) -> str:
    """Return the help text of a field; texts that are put together at run time are left out."""
    if not isinstance(value, ast.Call):
        return ""
    for keyword in value.keywords:
        if keyword.arg == "metadata" and isinstance(keyword.value, ast.Dict):
            for key, told in zip(keyword.value.keys, keyword.value.values, strict=True):
                if key is not None and ast.unparse(key) == "'help'" and isinstance(told, ast.Constant):
                    return " ".join(str(told.value).split())
    return ""


@cache
def _find_class(name: str) -> tuple[Path | None, ast.ClassDef | None]:
    folder = _folder()
    for file in [folder / "config.py", *sorted((folder / "tuners").glob("*/config.py"))]:
        if f"class {name}" in file.read_text(encoding="utf-8"):
            for node in _parse(file).body:
                if isinstance(node, ast.ClassDef) and node.name == name:
                    return file, node
    return None, None


@cache
def _enum_values(name: str) -> tuple[str, ...]:
    file, _ = _find_class(name)
    return () if file is None else read_enum(_parse(file), name)


@cache
def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def _folder() -> Path:
    spec = importlib.util.find_spec("peft")
    if spec is None or spec.origin is None:
        raise UserError("PEFT is not installed", todo="Run `pip install hf-finetune`.")
    return Path(spec.origin).parent

"""Which modules get adapters: those a recipe names, or those found in the architecture."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from hf_finetune.errors import ModelError
from hf_finetune.recipe.wording import find_near

__all__ = ["find_targets", "name_candidates", "require_effect", "require_modules"]

ATTENTION = re.compile(
    r"(^|[._])(self_attn|self_attention|attention|attn|encoder_attn)([._]|$)", re.IGNORECASE
)
ALL_LINEAR = "all-linear"
_PATTERNS = ("rank_pattern", "alpha_pattern")
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d)


def find_targets(model: nn.Module, tuner: Any, new_layers: Sequence[str]) -> list[str] | None:
    """Find the modules to adapt where the recipe names none.

    PEFT has a table of architectures for each method. What is not in it (ViT, DeiT, wav2vec2, Whisper ...)
    gets adapters on every linear layer of its attention blocks; where no module is called attention, on every
    linear layer of its body.

    Args:
        model: Of transformers.
        tuner: PEFT's class for the method; it has the table.
        new_layers: Modules that are trained whole.

    Returns:
        Names as `target_modules` takes them; None leaves it to PEFT's own table.
    """
    if str(getattr(getattr(model, "config", None), "model_type", "")) in _table_of(tuner):
        return None
    kinds = NORMS if tuner.__name__ == "LNTuningModel" else (nn.Linear, Conv1D)
    body = f"{getattr(model, 'base_model_prefix', '')}."
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, kinds)
        and (name.startswith(body) or not any(n.startswith(body) for n, _ in model.named_modules()))
        and not any(name == layer or name.startswith(f"{layer}.") for layer in new_layers)
    ]
    in_attention = [name for name in names if ATTENTION.search(name.rpartition(".")[0])]
    return _shorten(in_attention or names, model)


def require_modules(model: nn.Module, wanted: Any, key: str, *, where: str) -> None:
    """Check that each name in an option of the recipe is that of a module; PEFT ignores those that are not.

    Args:
        model: Before adapters are added.
        wanted: A list of names or ends of names, or a regular expression on whole names.
        key: The option, for the message.
        where: Its place.

    Raises:
        ModelError: A name or the expression matches nothing; names what could have been meant.
    """
    names = [name for name, _ in model.named_modules() if name]
    if wanted in (None, ALL_LINEAR):
        return
    if isinstance(wanted, str):
        try:
            missing = [] if any(re.fullmatch(wanted, name) for name in names) else [wanted]
        except re.error as error:
            raise ModelError(f"model.peft.{key} is not a regular expression: {error}", where=where) from None
    else:
        missing = [w for w in wanted if not any(n == w or n.endswith(f".{w}") for n in names)]
    if not missing:
        return
    last = {name.rpartition(".")[2] for name in names}
    near = find_near(missing[0], sorted(name for name in last if not name.isdigit()))
    candidates = ", ".join(f"{name} ({count})" for name, count in name_candidates(model))
    raise ModelError(
        f"model.peft.{key}: {missing[0]!r} matches no module of {type(model).__name__}",
        where=where,
        todo=(f"Did you mean '{near}'? " if near else "") + f"Its linear layers: {candidates}",
    )


def require_effect(adapted: Any, options: Mapping[str, Any], *, where: str) -> None:
    """Check that what an option says of single layers is about a layer that has adapters.

    PEFT passes over a pattern or a number that fits none.

    Args:
        adapted: With the adapters.
        options: Of the method, as the recipe says them.
        where: Their place.

    Raises:
        ModelError: Naming the first that fits none.
    """
    tuner = adapted.base_model
    modules = list(getattr(tuner, "targeted_module_names", ()))
    parameters = list(getattr(tuner, "targeted_parameter_names", ()))
    layers = options.get("layers_to_transform")
    wanted: list[tuple[str, Any, str, list[str]]] = [
        *((key, p, rf"(.*\.)?({p})", modules) for key in _PATTERNS for p in options.get(key) or ()),
        *(
            ("layers_to_transform", number, rf"(.*\.)?{number}\..*", modules)
            for number in ([layers] if isinstance(layers, int) else layers or ())
        ),
        *(
            ("target_parameters", name, rf"(.*\.)?{re.escape(name)}", parameters)
            for name in options.get("target_parameters") or ()
        ),
    ]
    for key, value, pattern, names in wanted:
        if not any(re.fullmatch(pattern, name) for name in names):  # PEFT has refused what is no pattern
            known = ", ".join(names[:4]) or "none"
            raise ModelError(
                f"model.peft.{key}: {value!r} fits nothing that has adapters",
                where=where,
                todo=f"Have adapters: {known}" + (f" ... ({len(names)} in all)" if len(names) > 4 else ""),
            )


def name_candidates(model: nn.Module) -> list[tuple[str, int]]:
    """Count the linear layers of a model by the last part of their names, the most frequent first."""
    counts = Counter(
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    )
    return counts.most_common()


def _table_of(tuner: Any) -> Iterable[str]:
    return getattr(tuner, "target_module_mapping", None) or ()


def _shorten(names: list[str], model: nn.Module) -> list[str]:
    """Name modules by their last parts where these name no other module: shorter to read and to keep."""
    chosen, ends = set(names), sorted({name.rpartition(".")[2] for name in names})
    everything = [name for name, _ in model.named_modules()]
    is_unique = all(
        name in chosen for end in ends for name in everything if name == end or name.endswith(f".{end}")
    )
    return ends if is_unique else sorted(names)

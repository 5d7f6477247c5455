"""Keep doctest from importing the modules of trackers that are not installed."""

from importlib.util import find_spec

collect_ignore = [
    f"hf_finetune/tracking/{name}.py" for name in ("mlflow", "trackio", "wandb") if find_spec(name) is None
]

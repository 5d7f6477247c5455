"""Checking a recipe loads none of the large libraries."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys, tempfile, pathlib
from hf_finetune.errors import RecipeError
from hf_finetune.recipe import json_schema, load_recipe
path = pathlib.Path(tempfile.mkdtemp()) / "r.yaml"
task = "task: image-classification\\n"
path.write_text(task + "model: {checkpoint: m}\\ndata: {path: p}\\ntraining: {report_to: wandb}\\n")
assert load_recipe(path, ["training.learning_rate=1e-4"]).to_yaml()
try:
    load_recipe(path, ["training.learning_rat=1"])
except RecipeError:
    json_schema()
    large = ["torch", "transformers", "datasets", "numpy", "evaluate", "accelerate", "peft", "comet_ml"]
    print(*[name for name in large if name in sys.modules])
"""


def test_no_large_library_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.strip() == ""
    assert done.returncode == 0

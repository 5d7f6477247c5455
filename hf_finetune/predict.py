"""The best model of a run applied to files."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

import datasets
import numpy as np
import pyarrow as pa
import torch

from hf_finetune.errors import RunFolderError, UserError
from hf_finetune.model import load_model
from hf_finetune.recipe import load_recipe
from hf_finetune.run_folder import RunFolder
from hf_finetune.tasks import build_task

__all__ = ["predict_files"]

logger = logging.getLogger(__name__)


def predict_files(
    run: Path,
    files: Sequence[Path],
    *,
    output: Path | None = None,
    batch_size: int = 32,
    trust_remote_code: bool = False,
) -> int:
    """Write a JSON object a line for each file: what the model says, and how sure it is.

    Args:
        run: A run folder with a finished run.
        files: Files, or folders whose files are taken in order of their names.
        output: Where the lines go; standard output when left out. It appears when all lines are in it.
        batch_size: Files in memory at once.
        trust_remote_code: Run code that comes with the model.

    Returns:
        The number of files that could not be read; each is named on standard error.

    Raises:
        UserError: There is no finished run, or no file.
    """
    paths = list(_list_files(files))
    if not paths:
        raise UserError("there is no file to predict", todo="Name files, or a folder with files in it.")
    folder = RunFolder(run)
    part = output.with_name(f"{output.name}.part") if output is not None else None
    num_bad = 0
    with part.open("w", encoding="utf-8") if part is not None else nullcontext(sys.stdout) as sink:
        for name, answer in _predict(folder, paths, batch_size, trust_remote_code=trust_remote_code):
            if isinstance(answer, str):
                num_bad += 1
                logger.warning("%s: skipped: %s", name, answer)
            else:
                _write(sink, {"file": name, **answer})
    if part is not None and output is not None:
        part.replace(output)
        logger.info("%d predictions in %s", len(paths) - num_bad, output)
    return num_bad


def _predict(
    folder: RunFolder, paths: Sequence[str], batch_size: int, *, trust_remote_code: bool
) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Yield (file, answer) in order; the answer is a string that says why where there is none."""
    if not folder.scores.exists() or not folder.best.is_dir():
        raise RunFolderError("there is no finished run", where=str(folder.path), todo="Train it first.")
    recipe = load_recipe(folder.recipe)
    kept = json.loads(folder.scores.read_text(encoding="utf-8"))
    local = recipe.model_copy(
        update={"model": recipe.model.model_copy(update={"checkpoint": str(folder.best), "revision": None})}
    )
    task = build_task(local, trust_remote_code=trust_remote_code)
    processor = task.load_processor(local, trust_remote_code=trust_remote_code)
    space = task.read_space(kept, processor)
    model = load_model(folder.best, recipe, task, space, trust_remote_code=trust_remote_code).eval()
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    model.to(device)
    preparation = task.build_preparation(datasets.Value("string"), (), processor=processor)
    transform, collate = task.build_eval_transform(processor), task.build_collate(space)
    reduce, decode, forward = task.build_reduce(space), task.build_decode(space), task.build_forward()
    for start in range(0, len(paths), batch_size):
        batch = list(paths[start : start + batch_size])
        table = pa.table(preparation.function(batch), schema=preparation.features.arrow_schema)
        problems = table["problem"].to_pylist()
        good = [i for i, problem in enumerate(problems) if problem is None]
        answers: list[dict[str, Any] | str] = [str(problem) for problem in problems]
        if good:
            readable = np.array(batch)[good]
            rows = preparation.read(table.take(good), lambda at: readable[list(at)].tolist())  # noqa: B023
            made = transform(rows)
            collated = collate([{name: made[name][i] for name in made} for i in range(len(rows))])
            inputs = {name: value.to(device) for name, value in collated.items()}
            with torch.no_grad():
                if forward is not None:
                    outputs = forward(model, inputs)
                else:
                    outputs = model(**inputs) if task.reads_outputs else None
                reduced = reduce(model, inputs, outputs)
            arrays = {name: value.cpu().numpy() for name, value in reduced.items()}
            arrays = decode(arrays) if decode is not None else arrays
            for row, i in enumerate(good):
                answers[i] = task.say({name: value[row] for name, value in arrays.items()}, space)
        yield from zip(batch, answers, strict=True)


def _list_files(given: Sequence[Path]) -> Iterator[str]:
    for path in given:
        if path.is_dir():
            yield from (str(file) for file in sorted(path.rglob("*")) if file.is_file())
        else:
            yield str(path)


def _write(sink: IO[str], answer: Mapping[str, Any]) -> None:
    sink.write(json.dumps(answer, ensure_ascii=False) + "\n")

"""The best model of a run applied to files or to a data set."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

from hf_finetune.predicting.inputs import find_inputs
from hf_finetune.predicting.outputs import Output
from hf_finetune.predicting.predictor import Predictor
from hf_finetune.recipe import import_user_files
from hf_finetune.secrecy import escape_surrogates
from hf_finetune.terminal import TerminalProgress
from hf_finetune.trained import build_trained_task, find_trained

__all__ = ["predict"]

logger = logging.getLogger(__name__)


def predict(
    source: str | Path,
    inputs: Sequence[str | Path] | str | Path,
    *,
    output: Path | None = None,
    kind: str | None = None,
    split: str | None = None,
    column: str | None = None,
    batch_size: int = 32,
    overwrite: bool = False,
    csv_safe: bool = False,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    allow_imports: bool | None = None,
) -> int:
    """Write for each file or row what the model says, and how sure it is. Memory does not grow with them.

    Args:
        source: A run folder, or `owner/name` on the Hub, with `@revision`.
        inputs: Files; folders, whose files are taken in order of their names; or one data set: a csv, json or
            parquet file, a folder that `datasets` reads (with `split`), `owner/name` on the Hub.
        output: Where the rows go; standard output when left out. It appears when all rows are in it.
        kind: jsonl, csv or parquet; by the suffix of `output` when left out.
        split: Of the data set, such as `test` or `train[:100]`.
        column: Of the data set; found by its feature when left out.
        batch_size: Rows in memory at once.
        overwrite: Replace `output` when it is a file that is there; a device or a pipe is written through.
        csv_safe: Put `'` before the cells of a csv that a spreadsheet would take for formulas.
        trust_remote_code: Run code that comes with the model.
        allow_pickle: Read weights from a pickle where there are no safetensors; tensors only.
        allow_imports: Run the `imports` of the run's recipe, or leave them out, wherever the folder is from.

    Returns:
        The number of files or rows that could not be read; each is named on standard error.

    Raises:
        UserError: There is no finished run, nothing to predict, or the output cannot be written.

    Example:
        from hf_finetune import predict
        predict("runs/quickstart", ["digit.png"], output=Path("answers.jsonl"))
    """
    sink = Output(output, kind=kind, overwrite=overwrite, csv_safe=csv_safe)
    trained = find_trained(
        source,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        allow_imports=allow_imports,
    )
    import_user_files(trained.recipe)
    task = build_trained_task(trained, trust_remote_code=trust_remote_code)
    words = [str(word) for word in ([inputs] if isinstance(inputs, str | Path) else inputs)]
    found = find_inputs(words, trained.recipe, task, split=split, column=column)
    predictor = Predictor(trained, task, found, trust_remote_code=trust_remote_code)
    sink.types = task.answer_types(predictor.space)
    num_bad = 0
    with TerminalProgress("predicting") as progress, sink:
        step, batches = progress.track("predictions"), range(math.ceil(len(found) / batch_size))
        for names, values in found.batches(batch_size):
            for name, answer in zip(names, predictor.answer(values), strict=True):
                if isinstance(answer, str):
                    num_bad += 1
                    place = escape_surrogates(name.get("file") or f"row {name['row']}")
                    row = f"row {name['row']} of " if {"start", "duration", "end"} & name.keys() else ""
                    logger.warning("%s%s: skipped: %s", row, place, answer.removeprefix(f"{place}: "))
                else:
                    sink.write({**name, **answer})
            step(batches)
    if output is not None:
        where = output if sink.num_rows else "no file: there is nothing to write"
        logger.info("%d predictions in %s", sink.num_rows, where)
    return num_bad

"""A trained model, ready to answer for batches of raw values."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from hf_finetune.model import load_model
from hf_finetune.predicting.inputs import Inputs
from hf_finetune.secrecy import escape_surrogates
from hf_finetune.tasks import Task
from hf_finetune.trained import Trained

__all__ = ["Predictor"]

Answer = dict[str, Any] | str


class Predictor:
    """Answers as the run's evaluation did: the same preparation, processor, precision and reduction.

    Args:
        trained: The run.
        task: Of it.
        inputs: Says what kind of values come.
        trust_remote_code: Run code that comes with the model.
    """

    def __init__(
        self, trained: Trained, task: Task, inputs: Inputs, *, trust_remote_code: bool = False
    ) -> None:
        self.task = task
        processor = task.load_processor(trained.as_checkpoint(), trust_remote_code=trust_remote_code)
        self.space = task.read_space(trained.scores, processor)
        arguments = trained.recipe.training
        accelerator = None if arguments.get("use_cpu") else torch.accelerator.current_accelerator()
        self.device = accelerator or torch.device("cpu")
        self.dtype = (
            torch.bfloat16 if arguments.get("bf16") else torch.float16 if arguments.get("fp16") else None
        )
        model = load_model(
            trained.folder, trained.recipe, task, self.space, trust_remote_code=trust_remote_code
        )
        self.model = model.eval().to(self.device)
        self.preparation = task.build_predict_preparation(inputs.feature, inputs.folders, processor=processor)
        self.transform, self.collate = task.build_eval_transform(processor), task.build_collate(self.space)
        self.reduce, self.decode = task.build_predict_reduce(self.space), task.build_decode(self.space)
        self.forward = task.build_predict_forward()

    def answer(self, values: Sequence[Any]) -> list[Answer]:
        """Return what there is to say about each value; a string says why there is nothing to say."""
        columns = dict(self.preparation.function(list(values)))
        # the name of a file may have bytes that are no text, which arrow does not take
        columns["problem"] = [problem and escape_surrogates(problem) for problem in columns["problem"]]
        table = pa.table(columns, schema=self.preparation.features.arrow_schema)
        problems = table["problem"].to_pylist()
        good = [i for i, problem in enumerate(problems) if problem is None]
        answers: list[Answer] = [str(problem) for problem in problems]
        if good:
            readable = [values[i] for i in good]
            rows = self.preparation.read(table.take(good), lambda at: [readable[i] for i in at])
            for part in self.task.split_batch(rows):
                arrays = self._run([rows[i] for i in part])
                for at, i in enumerate(part):
                    said = {name: value[at] for name, value in arrays.items()}
                    answers[good[i]] = self.task.say(said, self.space)
        return answers

    def _run(self, rows: list[Any]) -> dict[str, np.ndarray]:
        made = self.transform(rows)
        batch = self.collate([{name: made[name][i] for name in made} for i in range(len(rows))])
        inputs = {name: value.to(self.device) for name, value in batch.items()}
        with torch.no_grad(), self._precision():
            if self.forward is not None:
                outputs = self.forward(self.model, inputs)
            else:
                outputs = self.model(**inputs) if self.task.reads_outputs else None
            reduced = self.reduce(self.model, inputs, outputs)
        arrays = {name: value.cpu().numpy() for name, value in reduced.items()}
        return arrays if self.decode is None else self.decode(arrays)

    def _precision(self) -> AbstractContextManager[Any]:
        """Answer in the precision of training, as evaluations do."""
        return nullcontext() if self.dtype is None else torch.autocast(self.device.type, dtype=self.dtype)

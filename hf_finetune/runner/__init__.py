"""The runner: a recipe in, a finished run out; `hops.py` is the way from one to the other."""

from hf_finetune.runner.dry_run import check
from hf_finetune.runner.hops import prepare, run
from hf_finetune.runner.rescore import Evaluation, evaluate
from hf_finetune.runner.values import Prepared, Result

__all__ = ["Evaluation", "Prepared", "Result", "check", "evaluate", "prepare", "run"]

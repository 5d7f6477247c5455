"""The Trainer engine: `transformers.Trainer` with our ingredients, and right where it is wrong.

    engine.py        put together; how it starts and ends
    shared.py        what its parts may use
    updates.py       rows, loss, gradients, optimizer, schedule
    position.py      where a run stands, resumes and stops
    scores.py        evaluation, and which model is the best
    checkpoints.py   what is written and read back

What is different from a plain `Trainer`, and why, stands at each override. Overridden methods whose names
start with an underscore are not part of its interface: they are those of transformers 5.23, all in this
folder, and tests/unit/engines/test_trainer_seams.py notices when one of them changes.
"""

from hf_finetune.engines.trainer.engine import fit

__all__ = ["fit"]

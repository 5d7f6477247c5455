"""`--resume`: which checkpoint a run goes on from, and whether it may."""

from __future__ import annotations

import logging
from pathlib import Path

from accelerate.utils import broadcast_object_list

from hf_finetune.engines import checkpoint
from hf_finetune.processes import is_first_process
from hf_finetune.resume import require_same_run
from hf_finetune.run_folder import RunFolder
from hf_finetune.runner.values import Prepared

__all__ = ["find_checkpoint"]

logger = logging.getLogger(__name__)


def find_checkpoint(prepared: Prepared, folder: RunFolder, resume: bool | Path) -> Path | None:
    """Return the checkpoint to go on from, after comparing its recipe with this one."""
    if not resume:
        return None
    found: Path | None
    if resume is True:
        # the first process tidies up what a crash left; the others must not look on meanwhile
        found = broadcast_object_list([checkpoint.find_last(folder.path) if is_first_process() else None])[0]
        if found is None:
            logger.warning("there is no whole checkpoint in %s: starting from the beginning", folder.path)
            return None
    else:
        found = Path(resume)
        checkpoint.verify(found)
    stamp = checkpoint.load_stamp(found)
    if stamp is None:
        logger.warning("%s does not say which recipe it was made with: taking it as it is", found)
    else:
        for change in require_same_run(stamp, prepared.parts.stamp, where=str(found)):
            logger.info(change)
    best = checkpoint.load_state(found).best_model_checkpoint
    if resume is True and is_first_process():  # a crash may have come between saving and this
        checkpoint.rotate(folder.path, prepared.parts.args.save_total_limit, best=best, newest=found)
    logger.info("going on from %s", found)
    return found

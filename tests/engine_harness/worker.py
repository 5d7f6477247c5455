"""One of several processes: compare cells in one process group, and write what differs as JSON.

python -m engine_harness.worker ROOT CELL... (under torchrun, with ACCELERATE_USE_CPU=1)
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

import torch.distributed as dist

from engine_harness.cells import CELLS
from engine_harness.execute import compare_cell


def main(root: Path, names: list[str]) -> None:
    dist.init_process_group("gloo")
    results: dict[str, dict[str, list[str]]] = {}
    for name in names:
        try:
            results[name] = compare_cell(CELLS[name], root / name)
        except Exception:  # the other process would wait for ever; say what happened and end both
            text = traceback.format_exc()
            (root / f"failed-{os.environ['RANK']}.txt").write_text(f"{name}\n{text}")
            print(name, text, file=sys.stderr, flush=True)
            os._exit(1)
    everyone: list[dict[str, dict[str, list[str]]]] = [{}] * dist.get_world_size()
    dist.all_gather_object(everyone, results)
    if dist.get_rank() == 0:
        (root / "results.json").write_text(json.dumps(everyone))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

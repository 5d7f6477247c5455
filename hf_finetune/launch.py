"""Run a command in several processes, through Accelerate's launcher."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hf_finetune.errors import UserError
from hf_finetune.processes import ASKED, is_first_process

__all__ = ["launch", "report_exit_code"]

EXIT_CODE_FILE = "HF_FINETUNE_EXIT_CODE_FILE"


def launch(words: Sequence[str], *, num_processes: int) -> int:
    """Run `python -m hf_finetune WORDS` in several processes and return the exit code of the first.

    Args:
        words: The command line without `--processes`.
        num_processes: At least 2; without an accelerator they train on the CPU, with gloo between them.

    Returns:
        The exit code that the command itself ended with; the launcher's own is 1 whatever happened.
    """
    if num_processes < 2:
        raise UserError(f"--processes {num_processes}: expected 2 or more", todo="Leave it out for one.")
    import torch

    launcher = [sys.executable, "-m", "accelerate.commands.launch"]
    # accelerate 1.15: on a CPU, `--cpu --num_processes 2` comes up as one process; --multi_gpu with
    # ACCELERATE_USE_CPU is what starts two connected ones. require_world_size() checks what came up.
    setting = {
        "--num_processes": num_processes,
        "--num_machines": 1,
        "--mixed_precision": "no",  # the recipe's bf16 / fp16 decide
        "--dynamo_backend": "no",  # the recipe's torch_compile decides
        "--main_process_port": 0,  # a free one
    }
    options = [str(word) for pair in setting.items() for word in pair]
    with tempfile.TemporaryDirectory() as folder:
        exit_code_file = Path(folder) / "exit_code"
        env = {**os.environ, ASKED: str(num_processes), EXIT_CODE_FILE: str(exit_code_file)}
        if not torch.accelerator.is_available():
            env["ACCELERATE_USE_CPU"] = "1"
        child = subprocess.Popen([*launcher, "--multi_gpu", *options, "-m", "hf_finetune", *words], env=env)
        code = _wait(child)
        return int(exit_code_file.read_text()) if exit_code_file.exists() else code


def report_exit_code(code: int) -> None:
    """Tell `launch` what the command ended with: called by the first process before it exits."""
    file = os.environ.get(EXIT_CODE_FILE)
    if file and is_first_process():
        Path(file).write_text(str(code))


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Wait through Ctrl-C: the terminal sends it to the children too, and they save before they stop."""
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue

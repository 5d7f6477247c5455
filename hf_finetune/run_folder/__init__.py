"""The folder of a run: what lies where in it, who may write to it, and whether its best model is whole."""

from hf_finetune.run_folder.best import check_best, describe_mismatch, is_sealed, seal_best
from hf_finetune.run_folder.folder import RunFolder, output_folder, write_json, write_text
from hf_finetune.run_folder.lock import RunLock, hold, own, require_free

__all__ = [
    "RunFolder",
    "RunLock",
    "check_best",
    "describe_mismatch",
    "hold",
    "is_sealed",
    "output_folder",
    "own",
    "require_free",
    "seal_best",
    "write_json",
    "write_text",
]

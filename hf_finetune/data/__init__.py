"""Data sets: loaded through `datasets`, prepared once, augmented on the fly."""

from hf_finetune.data.build import Splits, build_datasets, check_batch_size

__all__ = ["Splits", "build_datasets", "check_batch_size"]

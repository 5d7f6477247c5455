"""CER: the character error rate."""

from __future__ import annotations

from hf_finetune.metrics_modules import error_rate


class Cer(error_rate.ErrorRate):
    """The `cer` of jiwer, added up batch by batch."""

    unit = "characters"

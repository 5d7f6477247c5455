"""WER: the word error rate."""

from __future__ import annotations

from hf_finetune.metrics_modules import error_rate


class Wer(error_rate.ErrorRate):
    """The `wer` of jiwer, added up batch by batch."""

    unit = "words"

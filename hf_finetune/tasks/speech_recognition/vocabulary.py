"""A vocabulary made of the training text, as a tokenizer that is saved with the model."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["build_tokenizer", "split_units"]

PAD, UNKNOWN, DELIMITER = "<pad>", "<unk>", "|"
MAX_WORDS = 20_000


def build_tokenizer(texts: Iterable[list[str]], *, unit: str) -> Any:
    """Make the tokenizer of all units in some texts, in sorted order: the same texts give the same numbers.

    Args:
        texts: Cleaned transcripts of the training split.
        unit: "characters", or "words": the most frequent `MAX_WORDS`.

    Returns:
        A `Wav2Vec2CTCTokenizer`; its padding token is the blank of CTC, number 0.
    """
    from transformers import Wav2Vec2CTCTokenizer

    counts = Counter(token for chunk in texts for text in chunk for token in split_units(text, unit))
    counts.pop(DELIMITER, None)
    kept = sorted(counts, key=lambda token: (-counts[token], token))[:MAX_WORDS]
    tokens = [PAD, UNKNOWN, DELIMITER, *sorted(kept)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.json"
        file.write_text(json.dumps({token: number for number, token in enumerate(tokens)}), encoding="utf-8")
        return Wav2Vec2CTCTokenizer(
            str(file),
            unk_token=UNKNOWN,
            pad_token=PAD,
            word_delimiter_token=DELIMITER,
            bos_token=None,
            eos_token=None,
        )


def split_units(text: str, unit: str) -> list[str]:
    """Return the tokens of a cleaned transcript; a word's end is a token of its own.

    Example:
        >>> split_units("a cat", "words"), split_units("a cat", "characters")
        (['a', '|', 'cat'], ['a', '|', 'c', 'a', 't'])
    """
    if unit == "characters":
        return list(text.replace(" ", DELIMITER))
    words = text.split()
    return [token for word in words for token in (word, DELIMITER)][:-1]

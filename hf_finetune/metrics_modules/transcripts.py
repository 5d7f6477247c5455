"""Transcripts: made comparable by a normaliser, then aligned with jiwer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal, NamedTuple, TypeAlias

import jiwer

__all__ = ["NORMALIZERS", "Edits", "Step", "align", "build_normalizer", "count_edits"]

Normalize: TypeAlias = Callable[[str], str]
Unit: TypeAlias = Literal["words", "characters"]


class Edits(NamedTuple):
    """What turns references into hypotheses.

    Args:
        substitutions: Units taken for others.
        deletions: Units of the references that the hypotheses do not have.
        insertions: Units that only the hypotheses have.
        num_units: Of the references.
    """

    substitutions: int
    deletions: int
    insertions: int
    num_units: int

    @property
    def num_errors(self) -> int:
        """All edits."""
        return self.substitutions + self.deletions + self.insertions


class Step(NamedTuple):
    """A stretch of an alignment.

    Args:
        kind: "equal", "substitute", "delete" (not said) or "insert" (said without reason).
        reference: Its words in the reference.
        hypothesis: Its words in the hypothesis.
    """

    kind: str
    reference: str
    hypothesis: str


def _as_it_is(text: str) -> str:
    return " ".join(text.split())


def _basic(text: str) -> str:
    """Lower-case, without punctuation; an apostrophe within a word is part of it.

    Example:
        >>> _basic("Don't panic -- it's  4 o'clock, 'he said'.")
        "don't panic it's 4 o'clock he said"
    """
    lower = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    kept = "".join(c if c == "'" or unicodedata.category(c)[0] not in "PS" else " " for c in lower)
    return " ".join(re.sub(r"(?<!\w)'|'(?!\w)", " ", kept).split())


def _build_whisper_english() -> Normalize:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    # without the table of British spellings, which lies in the checkpoints
    normalize: Normalize = EnglishTextNormalizer({})
    return normalize


def _build_whisper() -> Normalize:
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer

    normalize: Normalize = BasicTextNormalizer()
    return normalize


NORMALIZERS: dict[str, Callable[[], Normalize]] = {
    "none": lambda: _as_it_is,
    "basic": lambda: _basic,
    "whisper": _build_whisper,
    "whisper_english": _build_whisper_english,
}
"""Names in a recipe. The last two are those of the Whisper paper: for any language, and for English, where
numbers become digits, abbreviations are written out and fillers such as "um" are left out."""


@cache
def build_normalizer(name: str) -> Normalize:
    """Return a normaliser by its name; white space always ends as single spaces."""
    normalize = NORMALIZERS[name]()
    return lambda text: " ".join(normalize(text).split())


def count_edits(references: Sequence[str], hypotheses: Sequence[str], unit: Unit) -> Edits:
    """Count the fewest edits of normalised texts; spaces count among the characters.

    An empty reference is one of no unit: whatever is said there is inserted.

    Example:
        >>> count_edits(["the cat sat", ""], ["a cat", "hm"], "words")
        Edits(substitutions=1, deletions=1, insertions=1, num_units=3)
    """
    if not references:
        return Edits(0, 0, 0, 0)
    found = _process(list(references), list(hypotheses), unit)
    num_units = found.hits + found.substitutions + found.deletions
    return Edits(found.substitutions, found.deletions, found.insertions, num_units)


def align(reference: str, hypothesis: str) -> list[Step]:
    """Align the words of two normalised texts.

    Example:
        >>> [step.kind for step in align("the cat sat", "the hat sat down")]
        ['equal', 'substitute', 'equal', 'insert']
    """
    found = _process([reference], [hypothesis], "words")
    words, said = found.references[0], found.hypotheses[0]
    return [
        Step(
            chunk.type,
            " ".join(words[chunk.ref_start_idx : chunk.ref_end_idx]),
            " ".join(said[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in found.alignments[0]
    ]


def _process(
    references: list[str], hypotheses: list[str], unit: Unit
) -> jiwer.WordOutput | jiwer.CharacterOutput:
    process = jiwer.process_words if unit == "words" else jiwer.process_characters
    return process(references, hypotheses)

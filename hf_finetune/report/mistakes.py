"""The worst mistakes as cards with a picture, and a player where there is something to hear."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_finetune.formatting import as_finite, format_number
from hf_finetune.metrics_modules.transcripts import Step
from hf_finetune.report.classes import class_names
from hf_finetune.report.record import RunRecord
from hf_finetune.report.transcripts import align_texts, find_normalizer, is_text

__all__ = ["Mistake", "build_mistakes"]

MAX_MISTAKES = 24
MAX_SIDE = 224
MAX_WIDE_SIDE = 448
MAX_PIXEL_ART_SIDE = 64
MAX_BYTES = 1_200_000
MAX_SOUND_BYTES = 3_000_000
MAX_SOUND_S = 15


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One wrong prediction.

    Args:
        row: In the test split, from 0.
        true: What it is.
        predicted: What the model said.
        predicted_share: The probability the model gave to its answer; empty where there is none.
        true_share: The probability it gave to the true class.
        note: How far off a number was.
        image: `data:` address of the picture; empty when there is none.
        is_small: The picture has so few pixels that it is better enlarged without smoothing.
        is_wide: The picture is of a sound: a wave above a spectrogram.
        sound: `data:` address of the clip; empty when there is none.
        steps: What was written, aligned with the transcript; empty where nothing is written.
    """

    row: str
    true: str
    predicted: str
    predicted_share: str
    true_share: str
    note: str
    image: str
    is_small: bool
    is_wide: bool
    sound: str
    steps: tuple[Step, ...] = ()


def build_mistakes(record: RunRecord) -> list[Mistake]:
    """Make the cards, worst first; pictures and sounds stop where the page would get heavy."""
    names = class_names(record)
    normalizer = find_normalizer(record) if is_text(record) else None
    cards: list[Mistake] = []
    num_bytes = num_sound_bytes = 0
    for entry in record.worst[:MAX_MISTAKES]:
        is_heard = isinstance(entry.get("audio"), bytes)
        side = MAX_WIDE_SIDE if is_heard else MAX_SIDE
        image, is_small = _picture(entry.get("image"), side) if num_bytes < MAX_BYTES else ("", False)
        sound = _sound(entry.get("audio")) if num_sound_bytes < MAX_SOUND_BYTES else ""
        num_bytes += len(image)
        num_sound_bytes += len(sound)
        cards.append(
            Mistake(
                row=format_number(entry.get("row")),
                true=_label(entry.get("label"), names),
                predicted=_label(entry.get("prediction"), names),
                predicted_share=_percent(as_finite(entry.get("probability"))),
                true_share=_percent(_probability_of(entry.get("label"), entry.get("probabilities"), names)),
                note=_note(entry),
                image=image,
                is_small=is_small,
                is_wide=is_heard,
                sound=sound,
                steps=_align(entry, normalizer),
            )
        )
    return cards


def _align(entry: Mapping[str, Any], normalizer: str | None) -> tuple[Step, ...]:
    if normalizer is None:
        return ()
    return tuple(align_texts(entry.get("label"), entry.get("prediction"), normalizer))


def _picture(content: Any, side: int) -> tuple[str, bool]:
    """Encode the picture anew, small, whatever it was: no foreign bytes get into the page."""
    from PIL import Image

    raw = content.get("bytes") if isinstance(content, Mapping) else content
    if not isinstance(raw, bytes):
        return "", False
    try:
        opened = Image.open(io.BytesIO(raw), formats=("PNG", "JPEG"))
        is_see_through = "A" in opened.getbands() or "transparency" in opened.info
        picture = opened.convert("RGBA" if is_see_through else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "", False  # a damaged picture costs the card its picture, not the reader the report
    is_small = max(picture.size) <= MAX_PIXEL_ART_SIDE
    picture.thumbnail((side, side))
    kind = "PNG" if is_small or picture.mode == "RGBA" else "JPEG"
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **({"optimize": True} if kind == "PNG" else {"quality": 82}))
    return f"data:image/{kind.lower()};base64,{_base64(buffer)}", is_small


def _sound(content: Any) -> str:
    """Encode the sound anew as mono flac, not too long, whatever it was."""
    import soundfile

    if not isinstance(content, bytes):
        return ""
    buffer = io.BytesIO()
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            clip, rate = file.read(MAX_SOUND_S * file.samplerate, "float32", always_2d=True), file.samplerate
        soundfile.write(buffer, clip.mean(axis=1), rate, format="FLAC", subtype="PCM_16")
    except soundfile.SoundFileError:
        return ""  # as for a damaged picture
    return f"data:audio/flac;base64,{_base64(buffer)}"


def _base64(buffer: io.BytesIO) -> str:
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _label(value: Any, names: tuple[str, ...]) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        if value and all(isinstance(item, float) for item in value):
            return ", ".join(format_number(item) for item in value)
        if names and len(value) == len(names) and all(item in (0, 1) for item in value):
            value = [name for name, item in zip(names, value, strict=True) if item]
        return ", ".join(str(item) for item in value) or "nothing"
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    return format_number(value)


def _note(entry: Mapping[str, Any]) -> str:
    true, predicted = as_finite(entry.get("label")), as_finite(entry.get("prediction"))
    if true is None or predicted is None or "probability" in entry:
        return ""
    return f"off by {format_number(abs(predicted - true))}"


def _probability_of(label: Any, probabilities: Any, names: tuple[str, ...]) -> float | None:
    index = names.index(label) if label in names else label
    if not isinstance(probabilities, Sequence) or not isinstance(index, int):
        return None
    return as_finite(probabilities[index]) if 0 <= index < len(probabilities) else None


def _percent(share: float | None) -> str:
    """Format a probability; a rounded 100 % or 0 % would claim a certainty that no model has."""
    if share is None:
        return ""
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return "< 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"

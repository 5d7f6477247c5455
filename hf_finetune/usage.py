"""How to use a trained model without this package, as Python to copy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["show_adapter_usage", "show_usage"]


@dataclass(frozen=True)
class _Loading:
    """Two classes of transformers, an example of the input, and how a pipeline takes the processor."""

    processor: str
    model: str
    sample: str
    word: str


_LOADINGS = {
    "image-classification": _Loading(
        "AutoImageProcessor", "AutoModelForImageClassification", "picture.png", "image_processor=processor"
    ),
    "text-classification": _Loading(
        "AutoTokenizer", "AutoModelForSequenceClassification", "some text", "tokenizer=processor"
    ),
    "token-classification": _Loading(
        "AutoTokenizer", "AutoModelForTokenClassification", "some text", "tokenizer=processor"
    ),
    "audio-classification": _Loading(
        "AutoFeatureExtractor",
        "AutoModelForAudioClassification",
        "sound.wav",
        "feature_extractor=processor",
    ),
    "automatic-speech-recognition": _Loading(
        "AutoProcessor",
        "AutoModelForCTC",
        "speech.wav",
        "tokenizer=processor.tokenizer, feature_extractor=processor.feature_extractor",
    ),
}
_SEQ2SEQ = "AutoModelForSpeechSeq2Seq"


def show_usage(task: str, source: str, *, sampling_rate: int | None = None) -> str:
    """Return Python that loads a whole model and applies it to one file.

    Args:
        task: Pipeline tag of the Hub.
        source: Hub id or folder of the model.
        sampling_rate: Of the sounds it takes; None for models of other things.

    Example:
        >>> print(show_usage("image-classification", "me/model"))
        from transformers import pipeline
        <BLANKLINE>
        model = pipeline("image-classification", model="me/model")
        print(model("picture.png"))
    """
    imports, opening, argument = _open_sample(task, sampling_rate)
    return "\n".join(
        [
            *imports,
            "from transformers import pipeline",
            "",
            *opening,
            f"model = pipeline({json.dumps(task)}, model={json.dumps(source)})",
            f"print(model({argument}))",
        ]
    )


def show_adapter_usage(
    task: str,
    source: str,
    *,
    base: str,
    labels: Sequence[str] = (),
    is_seq2seq: bool = False,
    sampling_rate: int | None = None,
) -> str:
    """Return Python that puts adapters on their base and applies both to one file.

    Args:
        task: Pipeline tag of the Hub.
        source: Hub id or folder of the adapters.
        base: Hub id or folder of the model they belong to.
        labels: Names of the classes of a head that came with the adapters.
        is_seq2seq: Whether speech is recognised by a decoder.
        sampling_rate: Of the sounds it takes; None for models of other things.
    """
    loading = _LOADINGS[task]
    auto = _SEQ2SEQ if is_seq2seq else loading.model
    imports, opening, argument = _open_sample(task, sampling_rate)
    names, start, head = [], "", ""
    if labels:
        start = "\n    "
        names = [f"names = {json.dumps(list(labels))}"]
        head = (
            ",\n    id2label=dict(enumerate(names)),\n    label2id={name: i for i, name in enumerate(names)},"
            "\n    ignore_mismatched_sizes=True,\n"
        )
    return "\n".join(
        [
            *imports,
            "from peft import PeftModel",
            f"from transformers import {loading.processor}, {auto}, pipeline",
            "",
            *opening,
            *names,
            f"base = {auto}.from_pretrained({start}{json.dumps(base)}{head})",
            f"adapted = PeftModel.from_pretrained(base, {json.dumps(source)})",
            f"processor = {loading.processor}.from_pretrained({json.dumps(source)})",
            f"model = pipeline({json.dumps(task)}, model=adapted, {loading.word})",
            f"print(model({argument}))",
        ]
    )


def _open_sample(task: str, sampling_rate: int | None) -> tuple[list[str], list[str], str]:
    """Return imports, lines and the argument of a call with one example."""
    sample = _LOADINGS[task].sample if task in _LOADINGS else "..."
    if not sample.endswith(".wav"):
        return [], [], json.dumps(sample)
    rate = f", {sampling_rate} samples a second" if sampling_rate else ""
    opening = f'wave, rate = soundfile.read({json.dumps(sample)}, dtype="float32")  # one channel{rate}'
    return ["import soundfile"], [opening], '{"raw": wave, "sampling_rate": rate}'

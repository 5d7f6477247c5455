"""How to use a trained model without this package, as Python to copy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["show_adapter_usage", "show_usage"]


@dataclass(frozen=True)
class _Loading:
    """How a task's models are loaded and fed.

    Args:
        processor: Class of transformers.
        auto_peft: Class of peft that loads adapters with their base.
        sample: An example of the input.
        word: How a pipeline takes the processor.
    """

    processor: str
    auto_peft: str
    sample: str
    word: str


_LOADINGS = {
    "image-classification": _Loading(
        "AutoImageProcessor", "AutoPeftModel", "picture.png", "image_processor=processor"
    ),
    "text-classification": _Loading(
        "AutoTokenizer", "AutoPeftModelForSequenceClassification", "some text", "tokenizer=processor"
    ),
    "token-classification": _Loading(
        "AutoTokenizer", "AutoPeftModelForTokenClassification", "some text", "tokenizer=processor"
    ),
    "audio-classification": _Loading(
        "AutoFeatureExtractor", "AutoPeftModel", "sound.wav", "feature_extractor=processor"
    ),
    "automatic-speech-recognition": _Loading(
        "AutoProcessor",
        "AutoPeftModel",
        "speech.wav",
        "tokenizer=processor.tokenizer, feature_extractor=processor.feature_extractor",
    ),
}


_AS_TRAINED = """\
if picture.mode.startswith("I;16"):  # 16 bits: scaled, where a pipeline would cut off
    picture = Image.fromarray(((np.asarray(picture).astype("uint32") + 128) // 257).astype("uint8"))
if picture.has_transparency_data:  # laid on white, where a pipeline would drop the alpha channel
    picture = picture.convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)""".splitlines()
"""What `to_rgb` of tasks/images.py does with a picture, and a pipeline does not."""


def show_usage(task: str, source: str, *, sampling_rate: int | None = None, notes: Sequence[str] = ()) -> str:
    """Return Python that loads a whole model and applies it to one file.

    Args:
        task: Pipeline tag of the Hub.
        source: Hub id or folder of the model.
        sampling_rate: Of the sounds it takes; None for models of other things.
        notes: Where a pipeline answers otherwise than `predict`, a sentence each; comments before the call.

    Example:
        >>> print(show_usage("text-classification", "me/model"))
        from transformers import pipeline
        <BLANKLINE>
        model = pipeline("text-classification", model="me/model")
        print(model("some text"))
    """
    imports, opening, argument = _open_sample(task, sampling_rate)
    return "\n".join(
        [
            *imports,
            "from transformers import pipeline",
            "",
            *opening,
            *(f"# {note}" for note in notes),
            f"model = pipeline({json.dumps(task)}, model={json.dumps(source)})",
            f"print(model({argument}))",
        ]
    )


def show_adapter_usage(
    task: str,
    source: str,
    *,
    base: str,
    base_revision: str | None = None,
    labels: Sequence[str] = (),
    is_ctc: bool = False,
    is_writer: bool = False,
    sampling_rate: int | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Return Python that puts adapters on their base and applies both to one file.

    Args:
        task: Pipeline tag of the Hub.
        source: Hub id or folder of the adapters; they name their base and its revision.
        base: Hub id or folder of the model they belong to.
        base_revision: Of the base.
        labels: Names of the classes of a head that came with the adapters.
        is_ctc: Whether the head says a letter at a time. peft 0.21 looks for the input embeddings of whatever
            has a tokenizer, and a model of sounds has none: then the base is loaded by its name.
        is_writer: Whether it generates text; how is kept beside the adapters.
        sampling_rate: Of the sounds it takes; None for models of other things.
        notes: As for `show_usage`.
    """
    loading = _LOADINGS[task]
    imports, opening, argument = _open_sample(task, sampling_rate)
    if is_ctc:
        options = [f"revision={json.dumps(base_revision)}"] if base_revision else []
        options += ["vocab_size=len(processor.tokenizer)", "ignore_mismatched_sizes=True"]
        peft, classes = "PeftModel", f"AutoModelForCTC, {loading.processor}"
        adapted = [
            f"base = {_call('AutoModelForCTC.from_pretrained', json.dumps(base), *options)}",
            f"adapted = PeftModel.from_pretrained(base, {json.dumps(source)})",
        ]
    else:
        named = ["id2label=dict(enumerate(names))", "label2id={name: i for i, name in enumerate(names)}"]
        options = [*named, "ignore_mismatched_sizes=True"] if labels else []
        peft, classes = loading.auto_peft, loading.processor
        adapted = [f"adapted = {_call(f'{peft}.from_pretrained', json.dumps(source), *options)}"]
    if is_writer:
        classes = f"{classes}, GenerationConfig"
        settings = f"GenerationConfig.from_pretrained({json.dumps(source)})"
        adapted.append(f"adapted.get_base_model().generation_config = {settings}")
    return "\n".join(
        [
            *imports,
            f"from peft import {peft}",
            f"from transformers import {classes}, pipeline",
            "",
            *opening,
            f"processor = {loading.processor}.from_pretrained({json.dumps(source)})",
            *([f"names = {json.dumps(list(labels))}"] if labels else []),
            *adapted,
            *(f"# {note}" for note in notes),
            f"model = pipeline({json.dumps(task)}, model=adapted, {loading.word})",
            f"print(model({argument}))",
        ]
    )


def _call(function: str, *arguments: str) -> str:
    """Write a call, an argument a line where there are several."""
    if len(arguments) == 1:
        return f"{function}({arguments[0]})"
    return "".join([f"{function}(\n", *(f"    {argument},\n" for argument in arguments), ")"])


def _open_sample(task: str, sampling_rate: int | None) -> tuple[list[str], list[str], str]:
    """Return imports, lines and the argument of a call with one example."""
    sample = _LOADINGS[task].sample if task in _LOADINGS else "..."
    if sample.endswith(".png"):
        return (
            ["import numpy as np", "from PIL import Image, ImageOps"],
            [f"picture = ImageOps.exif_transpose(Image.open({json.dumps(sample)}))", *_AS_TRAINED],
            "picture",
        )
    if not sample.endswith(".wav"):
        return [], [], json.dumps(sample)
    rate = f", {sampling_rate} samples a second" if sampling_rate else ""
    opening = f'wave, rate = soundfile.read({json.dumps(sample)}, dtype="float32")  # one channel{rate}'
    return ["import soundfile"], [opening], '{"raw": wave, "sampling_rate": rate}'

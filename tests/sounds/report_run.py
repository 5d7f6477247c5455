"""The folder of a finished run on sounds: a digits run whose rows are clips of three classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from run_folders import RECIPE, make_digits_run, png

from hf_finetune.tasks.audio_pictures import draw_clip, encode_clip
from sounds.clips import NAMES, RATE, make_clip


def make_sound_run(folder: Path) -> dict[str, Any]:
    """Write one; its mistakes have pictures and sounds."""
    scores = make_digits_run(folder)
    recipe = RECIPE.replace("image-classification", "audio-classification").replace("digits", "tones")
    (folder / "recipe.yaml").write_text(recipe)
    rng = np.random.default_rng(0)
    truth = np.arange(90) % 3
    said = np.where(rng.random(90) < 0.9, truth, (truth + 1) % 3)
    sure = rng.uniform(0.4, 0.99, 90)
    matrix = np.zeros((3, 3), int)
    np.add.at(matrix, (truth, said), 1)
    for part in (scores, scores["baseline"]):
        for split in ("eval", "test"):
            part[split] = {"loss": 0.3, "accuracy": float((truth == said).mean())}
    scores |= {"labels": list(NAMES), "details": {"test": {"confusion_matrix": matrix.tolist()}}}
    (folder / "scores.json").write_text(json.dumps(scores))
    rows = [
        {
            "row": i,
            "label": NAMES[truth[i]],
            "prediction": NAMES[said[i]],
            "probability": sure[i],
            "probabilities": [sure[i] if c == said[i] else (1 - sure[i]) / 2 for c in range(3)],
        }
        for i in range(90)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "predictions" / "test.parquet")
    worst = sorted(
        (row for row in rows if row["label"] != row["prediction"]), key=lambda r: -r["probability"]
    )
    for row in worst:
        clip = make_clip(row["label"], rng.uniform(0.5, 3.0), RATE, rng)
        row |= {"image": png(np.asarray(draw_clip(clip, RATE))), "audio": encode_clip(clip, RATE)}
    pq.write_table(pa.Table.from_pylist(worst), folder / "predictions" / "worst.parquet")
    return scores

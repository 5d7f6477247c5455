"""The folder of a finished speech recognition, without a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from run_folders import RECIPE, png

from hf_finetune.tasks.audio_pictures import draw_clip, encode_clip

WORDS = ["one", "two", "three", "four", "five", "a-very-long-word-that-somebody-wrote-without-a-single-space"]
RATE = 16_000


def make_transcript_run(folder: Path) -> dict[str, Any]:
    """Write one; its mistakes are words left out, added and taken for others."""
    rng = np.random.default_rng(0)
    (folder / "predictions").mkdir(parents=True)
    recipe = RECIPE.replace("image-classification", "automatic-speech-recognition")
    (folder / "recipe.yaml").write_text(recipe)
    scores = {
        "best": {"metric": "wer", "value": 0.3, "step": 300, "split": "eval"},
        "eval": {"loss": 0.4, "wer": 0.3, "cer": 0.1},
        "test": {"loss": 0.5, "wer": 0.31, "cer": 0.12},
        "details": {},
        "labels": [],
        "num_labels": 30,
        "problem_type": "ctc",
        "train": {"runtime_s": 75.0, "updates": 300},
        "baseline": None,
    }
    (folder / "scores.json").write_text(json.dumps(scores))
    rows = []
    for i in range(120):
        words = list(rng.choice(WORDS, rng.integers(1, 9)))
        said = [
            str(rng.choice(WORDS)) if rng.random() < 0.15 else word for word in words if rng.random() > 0.1
        ]
        said += ["two"] * int(rng.random() < 0.2)
        facts = {"seconds": 0.4 * len(words), "group": f"speaker {i % 7}"}
        rows.append({"row": i, "label": " ".join(words), "prediction": " ".join(said), **facts})
    pq.write_table(pa.Table.from_pylist(rows), folder / "predictions" / "test.parquet")
    worst = [row for row in rows if row["label"] != row["prediction"]][:9]
    for row in worst:
        clip = 0.1 * rng.standard_normal(round(row["seconds"] * RATE)).astype(np.float32)
        row |= {"image": png(np.asarray(draw_clip(clip, RATE))), "audio": encode_clip(clip, RATE)}
    pq.write_table(pa.Table.from_pylist(worst), folder / "predictions" / "worst.parquet")
    return scores

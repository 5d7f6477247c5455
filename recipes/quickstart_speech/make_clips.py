"""Make the shipped clips again: 200 spoken commands by espeak-ng, 8 kHz and 12 bits, about 650 kB of flac.

python recipes/quickstart_speech/make_clips.py             # replaces clips/ beside this file
python recipes/quickstart_speech/make_clips.py --output X  # writes them somewhere else, to compare
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from speak import VOICES, draw_utterances, write_folder

WORDS = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]
NUM_TIMES = {"train": 10, "validation": 4, "test": 6}
"""How often each word is in a split: 100, 40 and 60 clips."""
TELEPHONE_RATE, NUM_BITS = 8_000, 12


def main() -> None:
    """Speak them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "clips")
    folder = parser.parse_args().output
    splits = {
        split: draw_utterances([word for word in WORDS for _ in range(times)], VOICES[split], seed=times)
        for split, times in NUM_TIMES.items()
    }
    shutil.rmtree(folder, ignore_errors=True)
    write_folder(folder, splits, rate=TELEPHONE_RATE, num_bits=NUM_BITS)


if __name__ == "__main__":
    main()

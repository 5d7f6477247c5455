"""The model card: `README.md` and `curves.png` of a run folder, made from what is in it, as the report is.

card.py      a record -> the file
metadata.py  its head, which the Hub reads: base model, data set, scores ...
facts.py     its tables and sentences
picture.py   the curves as a PNG
"""

from hf_finetune.card.card import render_card, write_card, write_pages

__all__ = ["render_card", "write_card", "write_pages"]

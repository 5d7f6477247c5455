"""Real `python -m hf_finetune` processes on a tiny model and real digits, with faults at chosen moments."""

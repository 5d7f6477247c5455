"""Share the run that nothing interrupted."""

from real_runs.fixtures import expected, hf_finetune, recipe, unbroken, workshop

__all__ = ["expected", "hf_finetune", "recipe", "unbroken", "workshop"]

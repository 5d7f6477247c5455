"""`python -m hf_finetune` is `hf-finetune`; `accelerate launch -m hf_finetune` needs it."""

from hf_finetune.cli import main

main()

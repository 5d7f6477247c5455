"""The private parts of transformers' Trainer that the engine stands on; a change of one is noticed here.

When this fails after an upgrade: read what changed in the method, adapt hf_finetune/engines/trainer/, run
the parity cells, then write the new fingerprint down. Those below are of transformers 5.23.
"""

from __future__ import annotations

import hashlib
import inspect

import pytest
from accelerate import skip_first_batches
from transformers import Trainer
from transformers.trainer_callback import CallbackHandler

from hf_finetune.engines.trainer.engine import Engine

PRIVATE = sorted(
    name
    for room in Engine.__mro__[: Engine.__mro__.index(Trainer)]
    for name, value in vars(room).items()
    if name.startswith("_") and not name.startswith("__") and callable(value) and hasattr(Trainer, name)
)

FINGERPRINTS = {
    "_build_accelerator_args": "5288559459f1",
    "_determine_best_metric": "7aa77355a0c3",
    "_evaluate": "64dfb995ce20",
    "_finalize_training": "6d6d83d6a271",
    "_get_grad_norm": "913ba6f52f07",
    "_init_training_state": "8fbd17ebb7d3",
    "_inner_training_loop": "20ec4276e99f",
    "_load_best_model": "0e183d55a9db",
    "_load_callback_state": "2d0eae17b14b",
    "_load_from_checkpoint": "a2804e8d93a2",
    "_load_optimizer_and_scheduler": "741032f57d6f",
    "_load_rng_state": "d5ebdfc0a088",
    "_maybe_log_save_evaluate": "af101534f0f7",
    "_prepare_for_training": "f55950593d7e",
    "_run_epoch": "31aff00f34c3",
    "_save_checkpoint": "a9111e30faa9",
    "_track_num_input_tokens": "090592fb6618",
    "create_accelerator_and_postprocess": "d649720bec7e",
    "evaluate": "47001f3acc99",
    "get_batch_samples": "0b3727386f73",
    "set_initial_training_values": "81697f5f3100",
    "store_flos": "46dbeb7395ab",
    "train": "9a3c2bcd066d",
    "training_step": "e9760c8ee103",
    "skip_first_batches": "c3e05a215cb6",
    "CallbackHandler": "0715cd4710f3",
}
"""sha256 of the source, first 12 digits: overridden private methods, and what calls them."""


def fingerprint(thing: object) -> str:
    return hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()[:12]  # type: ignore[arg-type]


def test_all_private_overrides_are_watched() -> None:
    assert set(PRIVATE) <= set(FINGERPRINTS)


@pytest.mark.parametrize("name", sorted(FINGERPRINTS))
def test_the_source_is_the_one_we_know(name: str) -> None:
    thing = {"skip_first_batches": skip_first_batches, "CallbackHandler": CallbackHandler}.get(name)
    assert fingerprint(thing or getattr(Trainer, name)) == FINGERPRINTS[name]


@pytest.mark.parametrize("name", PRIVATE)
def test_an_override_takes_what_trainer_passes(name: str) -> None:
    theirs = inspect.signature(getattr(Trainer, name)).parameters
    ours = inspect.signature(getattr(Engine, name)).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in ours.values())
    assert takes_any or len(ours) == len(theirs)

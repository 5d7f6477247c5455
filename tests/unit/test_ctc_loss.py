"""The CTC loss against torch's, row by row, and however a window is cut."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC, set_seed
from transformers.modeling_outputs import CausalLMOutput

from hf_finetune.errors import UserError
from hf_finetune.losses import build_loss

BLANK = 2


def space(**changes: Any) -> SimpleNamespace:
    usual = {
        "problem_type": "ctc",
        "names": (),
        "num_labels": 7,
        "blank": BLANK,
        "reduction": "mean",
        "zero_infinity": False,
        "count_frames": lambda lengths: lengths // 3,
    }
    return SimpleNamespace(**{**usual, **changes})


def build(options: dict[str, Any] | None = None, **changes: Any) -> Any:
    spec = None if options is None else SimpleNamespace(name="ctc", options=options)
    return build_loss(spec, space(**changes))


def draw(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return logits [B, T, V], labels [B, L] padded with -100, and an attention mask [B, 3 T]."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, 20, 7, generator=generator, dtype=torch.float64)
    labels = torch.full((5, 6), -100)
    mask = torch.zeros(5, 60, dtype=torch.long)
    for row, (num_labels, num_frames) in enumerate([(6, 20), (3, 17), (1, 9), (0, 12), (4, 13)]):
        labels[row, :num_labels] = torch.randint(3, 7, (num_labels,), generator=generator)
        mask[row, : 3 * num_frames] = 1
    return logits, labels, mask


def one_by_one(logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return torch's loss of each row alone, [B]."""
    losses = []
    for row in range(len(logits)):
        frames, targets = int(mask[row].sum()) // 3, labels[row][labels[row] >= 0]
        log_probs = logits[row, :frames].log_softmax(-1)
        losses.append(
            F.ctc_loss(log_probs, targets, (frames,), (len(targets),), blank=BLANK, reduction="sum")
        )
    return torch.stack(losses)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_torchs_over_the_tokens_of_the_window(seed: int) -> None:
    logits, labels, mask = draw(seed)
    wanted = one_by_one(logits, labels, mask).sum()
    inputs = {"attention_mask": mask}
    ours = build()(CausalLMOutput(logits=logits), labels, inputs=inputs, num_items_in_batch=14)
    torch.testing.assert_close(ours, wanted / 14)
    summed = build({"reduction": "sum"})(logits, labels, inputs=inputs, num_items_in_batch=14)
    torch.testing.assert_close(summed, wanted)


def test_without_a_mask_every_frame_counts() -> None:
    logits, labels, mask = draw(0)
    ours = build()(logits, labels, inputs={}, num_items_in_batch=14)
    torch.testing.assert_close(ours, one_by_one(logits, labels, torch.ones_like(mask)).sum() / 14)


def test_the_cut_of_the_window_changes_nothing() -> None:
    logits, labels, mask = draw(1)

    def gradient(sizes: list[int]) -> torch.Tensor:
        leaf = logits.clone().requires_grad_()
        for x, y, m in zip(leaf.split(sizes), labels.split(sizes), mask.split(sizes), strict=True):
            build()(x, y, inputs={"attention_mask": m}, num_items_in_batch=14).backward()
        assert leaf.grad is not None
        return leaf.grad

    torch.testing.assert_close(gradient([2, 1, 2]), gradient([5]))


def test_it_is_what_the_model_computes() -> None:
    """Per micro-batch with ctc_loss_reduction sum: its own loss is over no tokens at all."""
    set_seed(0)
    config = Wav2Vec2Config(
        vocab_size=7,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(3, 2),
        conv_kernel=(3, 2),
        feat_extract_norm="layer",
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        pad_token_id=BLANK,
        ctc_loss_reduction="sum",
    )
    model = Wav2Vec2ForCTC(config).eval()
    _, labels, _ = draw(2)
    mask = torch.zeros(5, 120, dtype=torch.long)
    for row, length in enumerate((120, 100, 60, 72, 90)):
        mask[row, :length] = 1
    outputs = model(torch.randn(5, 120) * mask, attention_mask=mask, labels=labels)
    ours = build({"reduction": "sum"}, count_frames=model._get_feat_extract_output_lengths)(
        outputs, labels, inputs={"attention_mask": mask}, num_items_in_batch=1
    )
    torch.testing.assert_close(ours, outputs.loss)


def test_a_transcript_longer_than_its_frames() -> None:
    logits, labels, mask = draw(3)
    mask[0, 9:] = 0  # 3 frames for 6 tokens
    inputs = {"attention_mask": mask}
    assert math.isinf(build()(logits, labels, inputs=inputs, num_items_in_batch=14))
    zeroed = build({"zero_infinity": True})(logits, labels, inputs=inputs, num_items_in_batch=14)
    rest = one_by_one(logits[1:], labels[1:], mask[1:]).sum() / 14
    torch.testing.assert_close(zeroed, rest)
    by_config = build(zero_infinity=True)(logits, labels, inputs=inputs, num_items_in_batch=14)
    assert torch.equal(by_config, zeroed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": "average"}, "reduction must be mean or sum, not 'average'"),
        ({"zero_infinity": "yes"}, "zero_infinity must be true or false"),
        ({"blank": 0}, "no option 'blank'"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(options)


def test_it_is_for_ctc_alone() -> None:
    with pytest.raises(UserError, match=r"it is for ctc, but the labels are seq2seq\. Use 'cross_entropy'"):
        build({}, problem_type="seq2seq")

"""Checkpoints of the kinds of models that classify sounds, so small that a batch takes milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers
from speech_models import build_config, build_wav2vec2_bert_config


def _wave(name: str, norm: str = "layer") -> tuple[Any, Any]:
    changes = {} if name == "Data2VecAudio" else {"feat_extract_norm": norm}  # it knows no other
    config = build_config(name, classifier_proj_size=16, mask_feature_length=2, **changes)
    return config, transformers.Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer")


def _spectrogram() -> tuple[Any, Any]:
    config = transformers.ASTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_length=64,
        num_mel_bins=32,
        frequency_stride=16,
        time_stride=16,
    )
    return config, transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=64)


def _whisper() -> tuple[Any, Any]:
    config = transformers.WhisperConfig(
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_mel_bins=16,
        max_source_positions=50,
        vocab_size=32,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        classifier_proj_size=16,
    )
    return config, transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=1)


def _wave_bert() -> tuple[Any, Any]:
    config = build_wav2vec2_bert_config(classifier_proj_size=16, mask_time_length=2)
    return config, transformers.SeamlessM4TFeatureExtractor(padding_value=1)


KINDS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "wav2vec2": lambda: _wave("Wav2Vec2"),
    "wav2vec2-group": lambda: _wave("Wav2Vec2", "group"),
    "hubert": lambda: _wave("Hubert"),
    "wavlm": lambda: _wave("WavLM"),
    "data2vec-audio": lambda: _wave("Data2VecAudio"),
    "wav2vec2-bert": _wave_bert,
    "ast": _spectrogram,
    "whisper": _whisper,
}


def write_checkpoint(folder: Path, kind: str) -> Path:
    """Write config, feature extractor and random weights of a pre-trained model without a head."""
    config, extractor = KINDS[kind]()
    transformers.set_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder

"""Checkpoints of every family of speech recognition: tiny, with random weights, as the Hub has them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers
from safetensors.torch import save_file
from transformers import set_seed

SMOKE = Path(__file__).parents[1] / "recipes" / "smoke"
LETTERS = "abcdefgh"

SIZES: dict[str, Any] = {
    "vocab_size": 12,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "pad_token_id": 0,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "conv_dim": (8, 8, 8),
    "conv_stride": (10, 8, 2),
    "conv_kernel": (20, 16, 4),
    "mask_time_prob": 0.1,
    "mask_time_length": 2,
}


def build_config(name: str, **changes: Any) -> Any:
    """Return the config of a model of wav2vec2's kind."""
    return getattr(transformers, f"{name}Config")(**{**SIZES, **changes})


def build_wav2vec2_bert_config(**changes: Any) -> Any:
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    sizes = {name: SIZES[name] for name in names}
    return transformers.Wav2Vec2BertConfig(
        **sizes, pad_token_id=0, feature_projection_input_dim=160, conv_depthwise_kernel_size=5, **changes
    )


def save_ctc(folder: Path, name: str, **changes: Any) -> Path:
    """Save a model of wav2vec2's kind with its feature extractor and no tokenizer, as before fine-tuning."""
    config = build_config(name, **changes)
    set_seed(0)
    getattr(transformers, f"{name}ForCTC")(config).save_pretrained(folder)
    has_mask = config.feat_extract_norm == "layer"
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=has_mask).save_pretrained(folder)
    return folder


def save_wav2vec2_bert(folder: Path) -> Path:
    config = build_wav2vec2_bert_config(
        add_adapter=True,
        num_adapter_layers=1,
        output_hidden_size=16,
        position_embeddings_type=None,
        mask_time_prob=0.0,
    )
    set_seed(0)
    transformers.Wav2Vec2BertForCTC(config).save_pretrained(folder)
    transformers.SeamlessM4TFeatureExtractor(num_mel_bins=80).save_pretrained(folder)
    return folder


def save_mms(folder: Path) -> Path:
    """Save wav2vec2 with an adapter and a vocabulary for each of two languages; "eng" is the one inside."""
    save_ctc(folder, "Wav2Vec2", feat_extract_norm="layer", do_stable_layer_norm=True, adapter_attn_dim=4)
    special = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4}
    letters = {"eng": LETTERS[:7], "deu": LETTERS + "ä"}
    vocabulary = {
        lang: {**special, **{letter: 5 + i for i, letter in enumerate(known)}}
        for lang, known in letters.items()
    }
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), target_lang="eng")
    tokenizer.save_pretrained(folder)
    for lang, tokens in vocabulary.items():
        config = transformers.Wav2Vec2Config.from_pretrained(folder, vocab_size=len(tokens))
        set_seed(len(tokens))
        model = transformers.Wav2Vec2ForCTC(config)
        adapter = {name: tensor.detach().clone() + 0.5 for name, tensor in model._get_adapters().items()}
        save_file(adapter, folder / f"adapter.{lang}.safetensors")
    return folder


def save_whisper(folder: Path, *, timestamps: bool = False) -> Path:
    shutil.copytree(SMOKE / "tiny-whisper", folder)
    set_seed(0)
    config = transformers.WhisperConfig.from_pretrained(folder)
    if timestamps:
        tokenizer = transformers.WhisperTokenizer.from_pretrained(folder)
        tokenizer.add_tokens([f"<|{i * 0.02:.2f}|>" for i in range(101)])  # a window is 2 s
        tokenizer.save_pretrained(folder)
        config.vocab_size = len(tokenizer)
    model = transformers.WhisperForConditionalGeneration(config)
    if timestamps:
        model.generation_config._from_model_config = False  # as in the checkpoints of the Hub
        model.generation_config.no_timestamps_token_id = tokenizer.convert_tokens_to_ids("<|notimestamps|>")
    model.save_pretrained(folder)
    return folder


def save_moonshine(folder: Path) -> Path:
    set_seed(0)
    config = transformers.MoonshineConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        encoder_num_hidden_layers=1,
        decoder_num_hidden_layers=1,
        encoder_num_attention_heads=2,
        decoder_num_attention_heads=2,
        encoder_num_key_value_heads=2,
        decoder_num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=2,
    )
    transformers.MoonshineForConditionalGeneration(config).save_pretrained(folder)
    tokenizer = _letters({"<unk>": 0, "<s>": 1, "</s>": 2})
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True, do_normalize=False)
    transformers.Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    return folder


def save_speech_to_text(folder: Path) -> Path:
    set_seed(0)
    config = transformers.Speech2TextConfig(
        vocab_size=40,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_target_positions=64,
        max_source_positions=400,
        input_feat_per_channel=20,
        conv_channels=16,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    transformers.Speech2TextForConditionalGeneration(config).save_pretrained(folder)
    tokenizer = _letters({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}, pad_token="<pad>")
    extractor = transformers.Speech2TextFeatureExtractor(feature_size=20, num_mel_bins=20)
    transformers.Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    return folder


def _letters(special: dict[str, int], **tokens: str) -> Any:
    """Return a tokenizer of single characters."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    letters = "▁abcdefghijklmnopqrstuvwxyz'"
    vocabulary = special | {letter: len(special) + i for i, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", **tokens
    )


CTC: dict[str, Callable[[Path], Path]] = {
    "wav2vec2": lambda folder: save_ctc(folder, "Wav2Vec2"),
    "wav2vec2-layer-norm": lambda folder: save_ctc(
        folder,
        "Wav2Vec2",
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        add_adapter=True,
        num_adapter_layers=1,
        output_hidden_size=16,
    ),
    "hubert": lambda folder: save_ctc(folder, "Hubert", feat_extract_norm="layer", conv_bias=True),
    "wavlm": lambda folder: save_ctc(folder, "WavLM"),
    "data2vec-audio": lambda folder: save_ctc(
        folder, "Data2VecAudio", feat_extract_norm="layer", num_conv_pos_embeddings=2, conv_pos_kernel_size=3
    ),
    "wav2vec2-bert": save_wav2vec2_bert,
}
SEQ2SEQ: dict[str, Callable[[Path], Path]] = {
    "whisper": save_whisper,
    "moonshine": save_moonshine,
    "speech_to_text": save_speech_to_text,
}

"""Whisper of transformers: `WhisperForConditionalGeneration` is a `Whisper`."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.hub.family import Family
from jaxlm.hub.json_file import load_json
from jaxlm.hub.mapping import LINEAR, TensorRow, TensorTable, each
from jaxlm.hub.options import CONFIG, Options
from jaxlm.models.whisper import Whisper

GENERATION = "generation_config.json"
FEATURES = ("preprocessor_config.json", "processor_config.json")
LANGUAGE = r"<\|[a-z]{2,3}\|>"  # the token of a language


def _attention(theirs: str, ours: str) -> tuple[TensorRow, ...]:
    """Return the rows of an attention layer; keys have no bias."""
    names = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "output"}
    kernels = [
        TensorRow(f"layers.{{}}.{theirs}.{name}.weight", f"block_{{}}/{ours}/{leaf}/kernel", LINEAR)
        for name, leaf in names.items()
    ]
    biases = [
        TensorRow(f"layers.{{}}.{theirs}.{name}.bias", f"block_{{}}/{ours}/{leaf}/bias")
        for name, leaf in names.items()
        if leaf != "key"
    ]
    return (*kernels, *biases)


def _norm(theirs: str, ours: str) -> tuple[TensorRow, ...]:
    return (TensorRow(f"{theirs}.weight", f"{ours}/scale"), TensorRow(f"{theirs}.bias", f"{ours}/bias"))


_SELF = _attention("self_attn", "attention") + _norm("layers.{}.self_attn_layer_norm", "block_{}/attention_norm")
_SOURCE = _attention("encoder_attn", "source_attention")
_SOURCE += _norm("layers.{}.encoder_attn_layer_norm", "block_{}/source_norm")
_FEED_FORWARD = (
    TensorRow("layers.{}.fc1.weight", "block_{}/feed_forward/up/kernel", LINEAR),
    TensorRow("layers.{}.fc1.bias", "block_{}/feed_forward/up/bias"),
    TensorRow("layers.{}.fc2.weight", "block_{}/feed_forward/down/kernel", LINEAR),
    TensorRow("layers.{}.fc2.bias", "block_{}/feed_forward/down/bias"),
    *_norm("layers.{}.final_layer_norm", "block_{}/feed_forward_norm"),
)
_ENDS = _norm("layer_norm", "final_norm")
_ARCHITECTURES = ("WhisperForConditionalGeneration",)
_COPIES = {"proj_out.weight": "model.decoder.embed_tokens.weight"}


def _table(model: Whisper) -> TensorTable:
    """Return the names and layouts of the tensors."""
    rows = []
    for number, channels in ((1, model.bands), (2, model.width)):  # torch.nn.Conv1d: [out, in, time]
        shape = (model.width, channels, 3)
        rows.append(TensorRow(f"encoder.conv{number}.weight", f"conv_{number}/kernel", (2, 1, 0), shape=shape))
        rows.append(TensorRow(f"encoder.conv{number}.bias", f"conv_{number}/bias"))
    rows.append(TensorRow("encoder.embed_positions.weight", "source_positions/bias"))
    rows.append(TensorRow("decoder.embed_tokens.weight", "embed/embedding"))
    rows.append(TensorRow("decoder.embed_positions.weight", "target_positions/embedding"))
    encoder = _ENDS + each(model.depth, _SELF + _FEED_FORWARD)
    decoder = _ENDS + each(model.decoder_depth or model.depth, _SELF + _SOURCE + _FEED_FORWARD)
    rows += [row.under("encoder.", "encoder/") for row in encoder]
    rows += [row.under("decoder.", "decoder/") for row in decoder]
    return TensorTable(tuple(row.under("model.", "") for row in rows), copies=_COPIES)


def _example(model: Whisper) -> tuple[Any, ...]:
    """Return two frames of sound and one target token."""
    return np.zeros((1, 2, model.bands), np.float32), np.zeros((1, 1), np.int32)


def _supports(model: Any) -> bool:
    """Return whether a module belongs to this family."""
    return isinstance(model, Whisper)


def _from_config(options: Options) -> Whisper:
    """Build the module."""
    kind = (options.peek("architectures") or [_ARCHITECTURES[0]])[0]
    if kind not in _ARCHITECTURES:
        raise options.refusal("architectures", [kind], _ARCHITECTURES)
    options.expect("is_encoder_decoder", True)
    options.expect("tie_word_embeddings", True)
    options.expect("activation_function", "gelu")
    options.expect("scale_embedding", False)
    for name in ("encoder_layerdrop", "decoder_layerdrop"):
        options.expect(name, 0.0)
    options.expect("apply_spec_augment", False)
    heads, hidden = options.size("encoder_attention_heads"), options.size("encoder_ffn_dim")
    options.expect("decoder_attention_heads", heads)
    options.expect("decoder_ffn_dim", hidden)
    model = Whisper(
        vocab=options.size("vocab_size"),
        depth=options.layers("encoder_layers"),
        width=options.size("d_model"),
        heads=heads,
        hidden=hidden,
        decoder_depth=options.layers("decoder_layers"),
        bands=options.size("num_mel_bins", 80),
        source_context=options.size("max_source_positions", 1500),
        context=options.size("max_target_positions", 448),
        dropout=options.number("dropout", 0.0),
    )
    options.finish(
        "activation_dropout attention_dropout begin_suppress_tokens classifier_proj_size forced_decoder_ids init_std "
        "mask_feature_length mask_feature_min_masks mask_feature_prob mask_time_length mask_time_min_masks "
        "mask_time_prob max_length median_filter_width num_hidden_layers suppress_tokens use_weighted_layer_sum"
    )
    return model


def _to_config(model: Whisper) -> dict[str, Any]:
    """Return the content of config.json."""
    hidden = model.hidden or 4 * model.width
    return {
        "architectures": [_ARCHITECTURES[0]],
        "model_type": "whisper",
        "dtype": "float32",
        "is_encoder_decoder": True,
        "vocab_size": model.vocab,
        "d_model": model.width,
        "encoder_layers": model.depth,
        "decoder_layers": model.decoder_depth or model.depth,
        "encoder_attention_heads": model.heads,
        "decoder_attention_heads": model.heads,
        "encoder_ffn_dim": hidden,
        "decoder_ffn_dim": hidden,
        "num_mel_bins": model.bands,
        "max_source_positions": model.source_context,
        "max_target_positions": model.context,
        "activation_function": "gelu",
        "scale_embedding": False,
        "dropout": model.dropout,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "tie_word_embeddings": True,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")),
    }


def generation_options(folder: Path) -> dict[str, Any]:
    """Return what a folder says of writing: fields of a `Transcription` (`jaxlm.decode.speech.transcription`).

    It is in generation_config.json, or in the first folders in config.json.

    Raises:
        BadInput: it holds an option of another form.
    """
    path = folder / GENERATION
    path = path if path.is_file() else folder / CONFIG
    found = _object(path)
    heads, multilingual = found.get("alignment_heads") or [], found.get("is_multilingual", True)
    lists = [found.get(name) or [] for name in ("suppress_tokens", "begin_suppress_tokens")]
    pairs = isinstance(heads, list) and all(_are_ids(pair) and len(pair) == 2 for pair in heads)
    if not (pairs and isinstance(multilingual, bool) and all(map(_are_ids, lists))):
        raise BadInput(f"{path} has another form than transformers writes: download it again")
    return {
        "suppressed": tuple(lists[0]),
        "begin_suppressed": tuple(lists[1]),
        "heads": tuple(map(tuple, heads)),
        "multilingual": multilingual,
    }


def feature_options(folder: Path) -> dict[str, Any]:
    """Return what a folder says of its features: fields of a `LogMel` (`jaxlm.data.audio.spectrogram`).

    It is in preprocessor_config.json, or since transformers 5 in processor_config.json; without these files the
    features are those of the published models.

    Raises:
        BadInput: it holds an option of another form.
    """
    found: dict[str, Any] = {}
    for name in FEATURES:
        if (folder / name).is_file():
            found = _object(folder / name)
            found = found.get("feature_extractor", found)
            break
    sizes = {"rate": "sampling_rate", "window": "n_fft", "hop": "hop_length"}
    options = {ours: found[theirs] for ours, theirs in sizes.items() if theirs in found}
    if not all(type(value) is int and value > 0 for value in options.values()):
        raise BadInput(f"{folder / name} has another form than transformers writes: download it again")
    return options


def companions(model: Whisper, features: Any, decode: Any, tokenizer: Any) -> dict[str, str]:
    """Return the files beside the weights that transformers transcribes with, by name.

    Args:
        model: the model.
        features: a `LogMel`.
        decode: a `Transcription`.
        tokenizer: of the model.
    """
    ids = tokenizer.special_tokens
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    generation = {
        "alignment_heads": decode.heads or None,
        "begin_suppress_tokens": decode.begin_suppressed or None,
        "bos_token_id": end,
        "decoder_start_token_id": start,
        "eos_token_id": end,
        "is_multilingual": decode.multilingual,
        "max_length": model.context,
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "pad_token_id": end,
        "return_timestamps": False,
        "suppress_tokens": decode.suppressed or None,
    }
    if decode.multilingual:
        generation["lang_to_id"] = {name: index for name, index in ids.items() if re.fullmatch(LANGUAGE, name)}
        generation["task_to_id"] = {name: ids[f"<|{name}|>"] for name in ("transcribe", "translate")}
    extractor = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": features.bands,
        "sampling_rate": features.rate,
        "n_fft": features.window,
        "hop_length": features.hop,
        "chunk_length": 2 * model.source_context * features.hop // features.rate,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
    files = {GENERATION: {name: x for name, x in generation.items() if x is not None}, FEATURES[0]: extractor}
    return {name: json.dumps(content, indent=2) + "\n" for name, content in files.items()}


def _object(path: Path) -> dict[str, Any]:
    try:
        found = load_json(path)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read ({error}): download it again") from None
    if not isinstance(found, dict):
        raise BadInput(f"{path} is not a JSON object: download it again")
    return found


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(index) is int and index >= 0 for index in value)


WHISPER_FAMILY = Family(
    supports=_supports,
    from_config=_from_config,
    to_config=_to_config,
    table=_table,
    example=_example,
    not_in_encoder="(embed|target_positions|decoder)/",
    model_inputs=("input_features",),
)

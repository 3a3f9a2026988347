"""Where in its source a written token was: cross-attention, aligned by dynamic time warping.

B batch, T tokens, S places of the source, N heads, L layers.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SMOOTHED = 7  # places of the median filter
HeadOfLayer = tuple[int, int]


def attention_to_source(
    model: Any,
    variables: Any,
    cache: Any,
    targets_BT: jax.Array,
    rows_BT: jax.Array,
    heads: Sequence[HeadOfLayer] = (),
) -> jax.Array:
    """Return how much each token attends to each place of the source, standardised, smoothed and averaged over heads.

    As in Whisper's word times: the weights of a place are standardised over the tokens, so that places that all tokens
    attend to do not count, and a median filter goes along the places.

    Args:
        model: an encoder-decoder whose layers are those of `jaxlm.models.encoder_decoder_layers`.
        variables: its variables.
        cache: of the encoded source, with room for the targets and none of them in it.
        targets_BT: int32, what the decoder is given.
        rows_BT: bool, the tokens that are standardised; the others have no meaning.
        heads: (layer, head) to average over; none: all heads of the upper half of the layers.

    Returns:
        float32 [B, T, S].
    """
    layers, count = len(cache.source.layers), cache.source.layers[0][0].shape[1]
    chosen = heads or [(layer, head) for layer in range(layers // 2, layers) for head in range(count)]
    pairs = _queries_and_keys(model, variables, cache, targets_BT)
    queries, keys = (jnp.stack([pairs[layer][side][:, head] for layer, head in chosen]) for side in (0, 1))

    def add(total_BTS: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        query_BTH, key_BSH = pair
        scores_BTS = jnp.einsum("bth,bsh->bts", query_BTH, key_BSH)
        return total_BTS + _median(_standardised(jax.nn.softmax(scores_BTS), rows_BT)), None

    blank_BTS = jnp.zeros((*targets_BT.shape, keys.shape[2]))
    return jax.lax.scan(add, blank_BTS, (queries, keys))[0] / len(chosen)


def last_attention(model: Any, variables: Any, cache: Any, targets_BT: jax.Array) -> jax.Array:
    """Return how much each token attends to each token of the source, in the last layer, as the mean over heads.

    The rows sum to 1. A token's row is that of the step that reads it and predicts the next one.

    Args:
        model: as for `attention_to_source`.
        variables: its variables.
        cache: of the encoded source, with room for the targets and none of them in it.
        targets_BT: int32, what the decoder is given: the start token, then the targets without the last one.

    Returns:
        float32 [B, T, S].
    """
    query_BNTH, key_BNSH = _queries_and_keys(model, variables, cache, targets_BT)[-1]
    scores_BNTS = jnp.einsum("bnth,bnsh->bnts", query_BNTH, key_BNSH)
    if cache.source.mask_B1TS is not None:
        scores_BNTS = jnp.where(cache.source.mask_B1TS, scores_BNTS, -jnp.inf)
    return jax.nn.softmax(scores_BNTS).mean(1)


def _queries_and_keys(
    model: Any, variables: Any, cache: Any, targets_BT: jax.Array
) -> list[tuple[jax.Array, jax.Array]]:
    """Return scaled queries [B, N, T, H] and keys [B, N, S, H] of the cross-attention of each layer, in float32."""
    scales: list[float] = []

    def is_query(module: Any, method: str) -> bool:
        found = method == "__call__" and module.name == "query" and module.parent.name == "source_attention"
        if found:
            attention = module.parent
            scales.append(attention.head_width**-0.5 if attention.scaled else 1.0)
        return bool(found)

    options = {"method": "decode", "capture_intermediates": is_query, "mutable": ["intermediates"]}
    captured = model.apply(variables, targets_BT, cache=cache, **options)[1]["intermediates"]["decoder"]
    pairs = []
    for layer, ((key_BNSH, _), scale) in enumerate(zip(cache.source.layers, scales, strict=True)):
        query_BTD = captured[f"block_{layer}"]["source_attention"]["query"]["__call__"][0].astype(jnp.float32)
        query_BTNH = query_BTD.reshape(*targets_BT.shape, -1, key_BNSH.shape[-1])
        pairs.append((query_BTNH.swapaxes(1, 2) * scale, key_BNSH.astype(jnp.float32)))
    return pairs


def _standardised(weights_BTS: jax.Array, rows_BT: jax.Array) -> jax.Array:
    """Return weights with mean 0 and variance 1 over the rows, for each place."""
    kept_BT1 = rows_BT[..., None].astype(jnp.float32)
    count_B11 = jnp.maximum(kept_BT1.sum(1, keepdims=True), 1.0)
    mean_B1S = (weights_BTS * kept_BT1).sum(1, keepdims=True) / count_B11
    variance_B1S = (jnp.square(weights_BTS - mean_B1S) * kept_BT1).sum(1, keepdims=True) / count_B11
    return (weights_BTS - mean_B1S) * jax.lax.rsqrt(jnp.maximum(variance_B1S, 1e-20))


def _median(x_BTS: jax.Array) -> jax.Array:
    """Return the median of `SMOOTHED` neighbouring places; the ends are mirrored."""
    half, places = SMOOTHED // 2, x_BTS.shape[-1]
    if places <= half:
        return x_BTS
    padded = jnp.pad(x_BTS, ((0, 0), (0, 0), (half, half)), mode="reflect")
    shifted = jnp.stack([padded[..., place : place + places] for place in range(SMOOTHED)])
    return jnp.sort(shifted, 0)[half]


def warped_path(gain_TS: np.ndarray) -> np.ndarray:
    """Return the first place of each token on the best monotonic path (dynamic time warping, Sakoe & Chiba 1978).

    A path leads from the first token and place to the last ones by steps of one token, one place, or both, and has the
    largest sum of gains. Each row is one running minimum of costs, so that no loop over places is needed.

    Args:
        gain_TS: how well each place fits each token, on the host.

    Returns:
        int64 [T].
    """
    cost_TS = -np.asarray(gain_TS, np.float64)
    tokens, places = cost_TS.shape
    best = np.full((tokens + 1, places + 1), np.inf)
    best[0, 0] = 0.0
    for token in range(tokens):
        above = np.minimum(best[token, :-1], best[token, 1:])
        so_far = np.cumsum(cost_TS[token])
        before = np.concatenate([[0.0], so_far[:-1]])
        best[token + 1, 1:] = so_far + np.minimum.accumulate(above - before)
    firsts = np.zeros(tokens, np.int64)
    token, place = tokens, places
    while token:
        firsts[token - 1] = place - 1
        options = (best[token, place - 1], best[token - 1, place - 1], best[token - 1, place])
        step = int(np.argmin(options))
        token, place = token - (step > 0), place - (step < 2)
    return firsts

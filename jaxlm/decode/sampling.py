"""Sampling of one token from logits: temperature, top-k and top-p.

B batch, V vocabulary.
"""

import jax
import jax.numpy as jnp

MASKED = -jnp.inf


def keep_top_k(logits_BV: jax.Array, top_k: int) -> jax.Array:
    """Mask all but the `top_k` largest logits of each row with minus infinity; ties with the last one are kept.

    Fan et al. 2018, section 5.4. `top_k` is static and may exceed V.
    """
    smallest_B1 = jax.lax.top_k(logits_BV, min(top_k, logits_BV.shape[-1]))[0][:, -1:]
    return jnp.where(logits_BV < smallest_B1, MASKED, logits_BV)


def keep_top_p(logits_BV: jax.Array, top_p: float | jax.Array) -> jax.Array:
    """Mask the logits outside the nucleus, the smallest set of most probable tokens whose mass reaches `top_p`.

    Nucleus sampling, Holtzman et al. 2020, equation 2. A token is kept if the mass of those strictly before it in
    descending order is less than `top_p`; the most probable one is always kept, and so are ties with the last. The
    others get minus infinity. `top_p` is one number, or one for each row, [B, 1].
    """
    sorted_BV = -jnp.sort(-logits_BV, axis=-1)
    mass_BV = jax.nn.softmax(sorted_BV, axis=-1)
    before_BV = jnp.cumsum(mass_BV, axis=-1) - mass_BV
    kept_BV = (before_BV < top_p).at[:, 0].set(True)
    smallest_B1 = jnp.where(kept_BV, sorted_BV, jnp.inf).min(-1, keepdims=True)
    return jnp.where(logits_BV < smallest_B1, MASKED, logits_BV)


def sample_tokens(
    logits_BV: jax.Array,
    keys_B: jax.Array,
    *,
    temperature: float | jax.Array = 1.0,
    top_k: int | None = None,
    top_p: float | jax.Array = 1.0,
) -> jax.Array:
    """Sample one token for each row, int32 [B]: scale by temperature, cut to the top k, then to the nucleus, then draw.

    Args:
        logits_BV: any floating dtype; computed in float32.
        keys_B: one random key for each row.
        temperature: at least 0, one number or one for each row, [B]; 0 is greedy and draws nothing. May be traced.
        top_k: static; None keeps all.
        top_p: in (0, 1], one number or one for each row, [B]; 1 keeps all, and then costs no sort. May be traced.
    """
    logits_BV = logits_BV.astype(jnp.float32)
    greedy_B = jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)
    temperature_B1, top_p_B1 = (
        jnp.broadcast_to(jnp.asarray(x, jnp.float32), greedy_B.shape)[:, None] for x in (temperature, top_p)
    )

    def draw() -> jax.Array:
        below_best_BV = logits_BV - logits_BV.max(-1, keepdims=True)  # tiny temperatures: -inf, never NaN
        scaled_BV = below_best_BV / jnp.maximum(temperature_B1, jnp.finfo(jnp.float32).tiny)
        kept_BV = scaled_BV if top_k is None else keep_top_k(scaled_BV, top_k)

        def cut() -> jax.Array:
            return jnp.where(top_p_B1 < 1, keep_top_p(kept_BV, top_p_B1), kept_BV)

        kept_BV = jax.lax.cond((top_p_B1 < 1).any(), cut, lambda: kept_BV)
        drawn_B = jax.vmap(jax.random.categorical)(keys_B, kept_BV).astype(jnp.int32)
        return jnp.where(temperature_B1[:, 0] > 0, drawn_B, greedy_B)

    return jax.lax.cond((temperature_B1 > 0).any(), draw, lambda: greedy_B)

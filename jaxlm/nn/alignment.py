"""Which token each frame of sound belongs to: monotonic alignment, and the frames of tokens by their durations.

B batch, L tokens, T frames, D width.
"""

import jax
import jax.numpy as jnp

from jaxlm.nn.speech import within

NEVER = -1e30


def monotonic_alignment(scores_BLT: jax.Array, tokens_B: jax.Array, frames_B: jax.Array) -> jax.Array:
    """Return how many frames each token has in the best monotonic alignment, int32 [B, L], 0 on padding.

    Kim et al. 2020 (Glow-TTS, arXiv:2005.11129, algorithm 1). The first frame belongs to the first token, the last to
    the last one, and from one frame to the next the token stays or is followed by its neighbour; the sum of the scores
    of all frames is as large as it can be. Where two are equal, the token that began later has the frame.

    Laws: the durations of a row sum to its frames; they are those of an exhaustive search; padding changes nothing.

    Args:
        scores_BLT: of frame t for token l; no gradient is taken.
        tokens_B: int32, tokens of each row.
        frames_B: int32, frames of each row, at least as many as tokens; else the row is meaningless.
    """
    scores_TBL = jax.lax.stop_gradient(scores_BLT).astype(jnp.float32).transpose(2, 0, 1)
    count = scores_TBL.shape[2]

    def forward(best_BL: jax.Array, score_BL: jax.Array) -> tuple[jax.Array, jax.Array]:
        before_BL = jnp.pad(best_BL[:, :-1], ((0, 0), (1, 0)), constant_values=NEVER)
        return jnp.maximum(best_BL, before_BL) + score_BL, before_BL > best_BL

    first_BL = jnp.where(jnp.arange(count)[None] == 0, scores_TBL[0], NEVER)
    _, moved_TBL = jax.lax.scan(forward, first_BL, scores_TBL[1:])

    def backward(token_B: jax.Array, item: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        moved_BL, frame = item
        moved_B = jnp.take_along_axis(moved_BL, token_B[:, None], 1)[:, 0] & (frame < frames_B)
        return token_B - moved_B, token_B

    last_B = jnp.maximum(tokens_B - 1, 0)
    numbers = jnp.arange(1, scores_TBL.shape[0])
    first_B, owner_TB = jax.lax.scan(backward, last_B, (moved_TBL, numbers), reverse=True)
    owner_BT = jnp.concatenate([first_B[None], owner_TB]).T
    owned_BTL = jax.nn.one_hot(owner_BT, count, dtype=jnp.int32)
    return jnp.where(within(frames_B, owner_BT.shape[1])[..., None], owned_BTL, 0).sum(1)


def spread_over_frames(x_BLD: jax.Array, durations_BL: jax.Array, frames: int) -> jax.Array:
    """Repeat the vector of each token over its frames, [B, frames, D]; 0 in frames that belong to no token.

    Ren et al. 2019 (FastSpeech, arXiv:1905.09263, section 3.2, the length regulator).

    Args:
        x_BLD: vectors of tokens.
        durations_BL: int32, frames of each token, 0 on padding.
        frames: T of the result.
    """
    ends_BL = jnp.cumsum(durations_BL, axis=1)
    places_1T1 = jnp.arange(frames)[None, :, None]
    owned_BTL = (places_1T1 < ends_BL[:, None]) & (places_1T1 >= (ends_BL - durations_BL)[:, None])
    return jnp.einsum("btl,bld->btd", owned_BTL.astype(x_BLD.dtype), x_BLD)

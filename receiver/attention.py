"""How much each place of a picture attends to words of its text, in FLUX's joint attention.

In a double block text and picture attend to each other in one softmax. Of that the part from picture to text is taken:
for each place (query) the share of its attention that goes to a token of the text (key), the mean over heads.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class _SeenError(Exception):
    """What was to be seen is seen: the rest of the transformer need not run."""


def joint_attention(
    transformer: Any, block: int, chosen: Sequence[int], run: Callable[[], object], *, whole: bool = False
) -> Tensor:
    """Return the maps of the *chosen* text tokens in the double block number *block*: (batch, tokens, places), 0 to 1.

    *run* runs the transformer, which is left behind that block's attention, unless *whole*. Differentiable wherever
    gradients are on. Raise ValueError for a token that the text does not have.
    """
    seen: list[Tensor] = []
    with _hook(transformer.transformer_blocks[block].attn, chosen, seen, stop=not whole):
        try:
            run()
        except _SeenError:
            pass
    return seen[-1]


@contextmanager
def _hook(attn: Any, chosen: Sequence[int], seen: list[Tensor], *, stop: bool) -> Iterator[None]:
    def look(_: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        seen.append(picture_to_text(attn, chosen, *args, **options))
        if stop:
            raise _SeenError

    handle = attn.register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def picture_to_text(
    attn: Any,
    chosen: Sequence[int],
    hidden_states: Tensor,
    encoder_hidden_states: Tensor,
    image_rotary_emb: Any = None,
    **_: Any,
) -> Tensor:
    """Return what `joint_attention` does, of the inputs of the attention *attn* of a double block.

    Queries and keys are made as diffusers' `FluxAttnProcessor` makes them, whose attention hands out no probabilities.
    """
    texts = encoder_hidden_states.shape[1]
    if not all(0 <= one < texts for one in chosen):
        raise ValueError(f"tokens {list(chosen)} of {texts}")

    def heads(states: Tensor) -> Tensor:
        return states.view(*states.shape[:2], -1, attn.head_dim)

    query = attn.norm_q(heads(attn.to_q(hidden_states)))
    picture = attn.norm_k(heads(attn.to_k(hidden_states)))
    key = torch.cat((attn.norm_added_k(heads(attn.add_k_proj(encoder_hidden_states))), picture), 1)
    if image_rotary_emb is not None:
        # places of the text come first, which no query is of
        cosine, sine = image_rotary_emb
        query = _turn(query, cosine[texts:], sine[texts:])
        key = _turn(key, cosine, sine)
    wide = torch.promote_types(query.dtype, torch.float32)
    query, key = query.to(wide).transpose(1, 2), key.to(wide).transpose(1, 2)
    shares: Tensor = (query @ key.transpose(2, 3) / attn.head_dim**0.5).softmax(-1)[..., list(chosen)]
    return shares.mean(1).transpose(1, 2)


def _turn(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Return *states* (batch, places, heads, features) turned by their places (rotary embedding, pairs of features)."""
    real, imaginary = states.float().view(*states.shape[:-1], -1, 2).unbind(-1)
    turned = torch.stack((-imaginary, real), -1).flatten(3)
    return (states.float() * cosine[:, None] + turned * sine[:, None]).to(states.dtype)

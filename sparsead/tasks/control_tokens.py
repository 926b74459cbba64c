"""Control tokens, such as `</s>`, in the user's texts: no text may give one."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from sparsead.tasks.examples import ExampleError
from sparsead.tasks.rows import quote_value


def refuse_control_tokens(
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[Sequence[int]],
    texts: Sequence[Sequence[str]],
    places: Sequence[str],
) -> None:
    """Refuse texts that the tokenizer encodes as control tokens, which a model takes as its own.

    A backbone's tokenizer splits them into ordinary tokens (see `load_backbone`), but where they
    are pieces of its vocabulary, as in T5's, it finds them all the same.

    Args:
        tokenizer: the backbone's.
        ids: of each example, with the tokens that the tokenizer adds.
        texts: of each example, one or two.
        places: of each example, for the message.

    Raises:
        ExampleError: an example has more control tokens than the tokenizer adds.
    """
    control = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    added = {1: tokenizer.num_special_tokens_to_add(), 2: tokenizer.num_special_tokens_to_add(True)}
    for tokens, parts, place in zip(ids, texts, places, strict=True):
        found = sum(map(control.__contains__, tokens))
        if found > added[len(parts)]:
            quoted = " and ".join(map(quote_value, parts))
            raise ExampleError(
                place,
                f"{quoted}: has a control token, one of "
                f"{', '.join(tokenizer.all_special_tokens)}, which the backbone's tokenizer cannot "
                "read as text; change or leave out the example",
            )

"""Keys and values of a generation batch, and attention over them, registered as ``boresight_decode``.

Rows are padded on the left, so that all rows write their next token into the same column; what is to the left of a
row's first token is hidden. Memory is allocated ahead of use: appending a token copies nothing, and a finished row's
place is taken over by the last row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

DECODE = "boresight_decode"
"""Name of the attention implementation. It serves single tokens after a packed prefill, which has refused already what
neither implements (soft-cap, sinks, dropout, bidirectional attention)."""

_SPARE_COLUMNS = 64


class DecodingCache:
    """Keys and values of a batch in every layer, ``[rows, key_heads, columns, head_dim]`` each.

    Passed to the model as its ``past_key_values``. ``prompt_lengths`` are in tokens.
    """

    def __init__(self, prompt_lengths: Sequence[int]) -> None:
        self.rows = len(prompt_lengths)
        self.columns = max(prompt_lengths)
        self._padding = [self.columns - length for length in prompt_lengths]
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._mask: Tensor | None = None

    def store_prompts(self, layer: int, row: int, keys: Tensor, values: Tensor) -> None:
        """Keys and values of the prompts of rows from ``row`` on, ``[some rows, key_heads, columns, head_dim]``."""
        for stored, new in ((self._keys, keys), (self._values, values)):
            if layer == len(stored):
                stored.append(new.new_zeros((self.rows, new.shape[1], self.columns + _SPARE_COLUMNS, new.shape[3])))
            stored[layer][row : row + new.shape[0], :, : self.columns] = new

    def begin_decoding(self) -> None:
        """All prompts are stored: prepare the mask."""
        if any(self._padding):
            self._mask = self._keys[0].new_zeros((self.rows, 1, 1, self._keys[0].shape[2]))
            for row, padding in enumerate(self._padding):
                self._mask[row, :, :, :padding] = float("-inf")

    def begin_step(self) -> None:
        """Make room for one more token in each row."""
        capacity = self._keys[0].shape[2]
        if self.columns == capacity:
            self._grow(capacity // 2)
        self.columns += 1

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """transformers' cache protocol: add the new token's ``[rows, key_heads, 1, head_dim]``, return all."""
        stored_keys, stored_values = self._keys[layer_idx][: self.rows], self._values[layer_idx][: self.rows]
        stored_keys[:, :, self.columns - 1] = keys[:, :, 0]
        stored_values[:, :, self.columns - 1] = values[:, :, 0]
        return stored_keys[:, :, : self.columns], stored_values[:, :, : self.columns]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """transformers' cache protocol: tokens before the new one."""
        del layer_idx
        return self.columns - 1

    @property
    def mask(self) -> Tensor | None:
        """``[rows, 1, 1, columns]`` to add to the scores; it hides the padding. None if there is none."""
        return None if self._mask is None else self._mask[: self.rows, :, :, : self.columns]

    def drop(self, row: int) -> None:
        """Forget ``row``; the last row takes its place."""
        last = self.rows - 1
        if row != last:
            tensors = [*self._keys, *self._values] + ([] if self._mask is None else [self._mask])
            for tensor in tensors:
                tensor[row, :, : self.columns] = tensor[last, :, : self.columns]
        self.rows = last

    def _grow(self, columns: int) -> None:
        for stored in (self._keys, self._values):
            for layer, tensor in enumerate(stored):  # one after the other: never all of the old beside all of the new
                stored[layer] = functional.pad(tensor[: self.rows], (0, 0, 0, columns))
        if self._mask is not None:
            self._mask = functional.pad(self._mask[: self.rows], (0, columns))


class PromptWriter:
    """Passed to the model as its ``past_key_values`` while prompts are computed on one flat axis.

    ``index`` is ``[rows, columns]``: flat position of every prompt token of rows from ``row`` on; any at padding.
    """

    def __init__(self, cache: DecodingCache, row: int, index: Tensor) -> None:
        self._cache = cache
        self._row = row
        self._index = index

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """transformers' cache protocol: store the flat ``[1, key_heads, T, head_dim]`` by row, pass it on."""
        self._cache.store_prompts(layer_idx, self._row, self._by_row(keys), self._by_row(values))
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """transformers' cache protocol: nothing comes before the prompts."""
        del layer_idx
        return 0

    def _by_row(self, flat: Tensor) -> Tensor:
        _, heads, _, size = flat.shape
        gathered = flat[0].index_select(1, self._index.flatten())
        return gathered.view(heads, *self._index.shape, size).transpose(0, 1)


def decode_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    decoding: DecodingCache,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of one new token a row.

    ``query`` is ``[rows, heads, 1, head_dim]``, the result ``[rows, 1, heads, head_dim]``. The query heads that share a
    key head become queries of that head, so keys and values are read once and not repeated in memory (on a CPU this is
    what decoding costs).
    """
    del module, attention_mask
    rows, heads, _one, size = query.shape
    mask = decoding.mask
    if sliding_window is not None and key.shape[2] > sliding_window:
        key, value = key[:, :, -sliding_window:], value[:, :, -sliding_window:]
        mask = None if mask is None else mask[..., -sliding_window:]
    grouped = query.reshape(rows, key.shape[1], heads // key.shape[1], size)
    attended = functional.scaled_dot_product_attention(grouped, key, value, attn_mask=mask, scale=scaling)
    return attended.reshape(rows, 1, heads, value.shape[3]), None


AttentionInterface.register(DECODE, decode_attention)

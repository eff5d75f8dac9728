"""INT4 one number at a time."""

from __future__ import annotations

import torch

from chogori.quant import ScaleRule


def pack_row(row: list[int]) -> list[int]:
    """Eight codes to a word, lowest nibble first, each stored as code + 8."""
    words = [0] * (len(row) // 8)
    for column, code in enumerate(row):
        words[column // 8] |= (code + 8) << (4 * (column % 8))
    return [word - (1 << 32) if word >= 1 << 31 else word for word in words]


def quantize_row(group: list[float], rule: ScaleRule) -> tuple[list[int], float]:
    """Codes and scale of one group of float32 numbers; Python's `round` is half to even, too."""
    exact = torch.tensor(group).double().tolist()
    scale = max(map(abs, exact)) / rule.divisor
    if rule.least is not None:
        scale = max(scale, rule.least)
    elif scale == 0:
        scale = torch.finfo(torch.float32).eps
    scale = torch.tensor(max(scale, torch.finfo(torch.float32).tiny)).item()
    return [min(max(round(x / scale), rule.code_min), 7) for x in exact], scale

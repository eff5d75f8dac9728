"""INT4 as plain functions on tensors. Knows nothing of models or files.

Imports no other room but `errors`; needs torch (`pip install 'chogori[k2]'`).
"""

from chogori.quant.fake import fake_quantize
from chogori.quant.fp8 import FP8_BLOCK, dequantize_fp8, fp8_blocks
from chogori.quant.int4 import (
    ABSMAX_7,
    GROUP_SIZE,
    MINMAX,
    RULES,
    Int4Weight,
    ScaleRule,
    dequantize,
    pack,
    quantize,
    unpack,
)
from chogori.quant.kernel import Kernel, build_kernel
from chogori.quant.linear import (
    KernelLinears,
    Linears,
    Matrix,
    PackedInt4,
    TorchLinears,
    linears_of,
)

__all__ = [
    "ABSMAX_7",
    "FP8_BLOCK",
    "GROUP_SIZE",
    "MINMAX",
    "RULES",
    "Int4Weight",
    "Kernel",
    "KernelLinears",
    "Linears",
    "Matrix",
    "PackedInt4",
    "ScaleRule",
    "TorchLinears",
    "build_kernel",
    "dequantize",
    "dequantize_fp8",
    "fake_quantize",
    "fp8_blocks",
    "linears_of",
    "pack",
    "quantize",
    "unpack",
]

"""Any GGUF file through llama.cpp, inside this process (`pip install 'chogori[local]'`).

A model that was not trained to call tools is made to: what it may write is a grammar in which
every call is well-formed (`grammar`), shown to it in the form in which small models are strongest
(`prompt`), and taken apart as it streams (`reader`). `llama` is the only file that knows the
library; `model` is the `ChatModel`.
"""

from chogori.engine.gguf.model import GgufModel

__all__ = ["GgufModel"]

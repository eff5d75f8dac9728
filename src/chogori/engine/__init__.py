"""How weights answer: the engines, each a `ChatModel`.

Imports `chat` and `errors`; `engine.gguf` never reaches torch.
"""

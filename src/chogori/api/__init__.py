"""The wire, both ends: a client that is a `ChatModel`, and a server for any `ChatModel`.

Moonshot's API, vLLM, SGLang, llama.cpp, Ollama and Chogori's own server are spoken to in one way;
what they get wrong is put right in `repair` before anybody else sees it. May import `chat` and
`errors` only. HTTP is aiohttp's and JSON is orjson's.

    client      `connect`: all of it, as a `ChatModel`
    endpoint    addresses, connections, time-outs; one request at a time
    retries     when to ask again, and how long to wait
    failures    what went wrong, as one of our errors
    keys        which key goes to which host
    wire        conversations to requests              ids         call ids that are unique
    sse         bytes to events                        fields      JSON of unknown shape
    together    what arrived together, told together   probe       what an endpoint does with us
    repair      chunks to deltas, put right            calls       fragments to tool calls
    markers     text with markup left in it            arguments   JSON that models write
    server      `create_app`: the other end            platform    what the server needs besides
"""

from chogori.api.client import RemoteModel, connect
from chogori.api.keys import Keys, key_for
from chogori.api.server import App, OpenGate, Upstream, create_app

__all__ = [
    "App",
    "Keys",
    "OpenGate",
    "RemoteModel",
    "Upstream",
    "connect",
    "create_app",
    "key_for",
]

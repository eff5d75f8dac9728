"""The server's half of the wire: any `ChatModel` behind an OpenAI-compatible API.

May import `api`, `chat` and `errors`; needs the extra `serve`, and nothing of it at import.

    app         `create_app`: routes, errors, life        exchange    one request, one response
    chat        chat completions, from key to bill        watch       who leaves, stalls, is revoked
    requests, messages, tool_requests, reading            policy      what a model lets be chosen
    replies     chunks and completions                    refusals    errors, in one form
    asking      a reply from any `ChatModel`              relaying    an endpoint's bytes, handed on
    upstreams   several behind one name                   turns       a bounded line at an engine
    restoring   reasoning and ids that clients lose       idempotency the same answer twice
    open_gate   for a server without a platform           metrics, spans, openapi
"""

from chogori.api.server.app import App, create_app
from chogori.api.server.open_gate import OpenGate, RememberedReasoning
from chogori.api.server.upstreams import Upstream

__all__ = ["App", "OpenGate", "RememberedReasoning", "Upstream", "create_app"]

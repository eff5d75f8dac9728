"""Ask a model behind an OpenAI-compatible endpoint: python examples/endpoint.py [URL#MODEL [KEY]]

`chogori.load` takes the same address; `connect` has more to set: a limiter, a profile, retries.
"""

import sys

import chogori
from chogori.errors import ModelUnavailable

spec = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080/v1"
agent = chogori.Agent(chogori.connect(spec, api_key=sys.argv[2] if len(sys.argv) > 2 else None))

try:
    answer = agent.ask("What is a mountain pass?")
except ModelUnavailable as error:
    sys.exit(str(error))
print(answer.text)
print(f"{answer.usage.prompt} tokens read, {answer.usage.completion} written")

"""Ask one question and print the answer: python examples/ask.py [MODEL]"""

import sys

import chogori

model = chogori.load(sys.argv[1] if len(sys.argv) > 1 else "local")
agent = chogori.Agent(model, instructions="Answer in one sentence.")

answer = agent.ask("What is a mountain pass?")
print(answer.text)
print(f"{answer.usage.completion} tokens in {answer.seconds:.1f} s, run {answer.run_id}")

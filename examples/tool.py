"""Give an agent a tool: python examples/tool.py [MODEL]

Name, description and parameters are the function's own. A `ToolError` is told to the model, so it
says what would have worked. `effect` says what doing it twice would do: this one does nothing.
"""

import sys
from typing import Annotated

import chogori

STOCK = {"apples": 3, "pears": 12}


@chogori.tool(effect="pure")
def count_stock(item: Annotated[str, "What to count, in the plural."]) -> str:
    """Count how many of an item are in the shop."""
    if item not in STOCK:
        raise chogori.ToolError(f"the shop does not sell {item}; it sells {', '.join(STOCK)}")
    return str(STOCK[item])


model = chogori.load(sys.argv[1] if len(sys.argv) > 1 else "local")
agent = chogori.Agent(model, tools=[count_stock])

answer = agent.ask("How many pears are in the shop?")
print(answer.text)
for claim in answer.claims:
    print(f"{claim.text}: {claim.status} {claim.evidence}")

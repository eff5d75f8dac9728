"""The OpenAI package for Node against our server, as programs for Kimi use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import THINKS
from e2e.node import run_node
from served import Served

BEGIN = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: "BASE", apiKey: process.env.CHOGORI_KEY, maxRetries: 0 });
const model = "MODEL";
const out = {};
"""
END = "\nconsole.log(JSON.stringify(out));\n"
PLAIN = """
const completion = await client.chat.completions.create({
  model, max_tokens: 8,
  messages: [{ role: "user", content: "How much is 17 times 23?" }],
});
out.text = completion.choices[0].message.content;
out.reasoning = completion.choices[0].message.reasoning_content;
out.tokens = completion.usage.total_tokens;
"""
STREAM = """
const stream = await client.chat.completions.create({
  model, max_tokens: 8, stream: true, stream_options: { include_usage: true },
  messages: [{ role: "user", content: "How much is 17 times 23?" }],
});
out.text = out.reasoning = "";
for await (const chunk of stream) {
  const delta = chunk.choices[0]?.delta;
  out.text += delta?.content ?? "";
  out.reasoning += delta?.reasoning_content ?? "";
  out.tokens = chunk.usage?.total_tokens;
}
"""
TOOLS = """
const runner = client.chat.completions.runTools({
  model, max_tokens: 60,
  messages: [{ role: "user", content: "What is the weather in Skardu?" }],
  tools: [{
    type: "function",
    function: {
      name: "get_weather",
      description: "Tell the weather in a city.",
      parse: JSON.parse,
      function: ({ city }) => { out.city = city; return { degrees: 21 }; },
      parameters: {
        type: "object", properties: { city: { type: "string" } },
        required: ["city"], additionalProperties: false,
      },
    },
  }],
});
out.text = await runner.finalContent();
"""
FORM = """
const schema = {
  type: "object",
  properties: {
    peak: { type: "string", maxLength: 20 },
    metres: { type: "integer", minimum: 7000, maximum: 8848 },
  },
  required: ["peak", "metres"],
  additionalProperties: false,
};
const completion = await client.chat.completions.parse({
  model, max_tokens: 60,
  messages: [{ role: "user", content: "Name a mountain, as JSON." }],
  response_format: { type: "json_schema", json_schema: { name: "mountain", strict: true, schema } },
});
const { parsed, content } = completion.choices[0].message;
out.mountain = parsed ?? JSON.parse(content);
"""
ERRORS = """
const messages = [{ role: "user", content: "x" }];
const changes = { NotFoundError: { model: "nobody" }, BadRequestError: { messages: [] } };
for (const [name, change] of Object.entries(changes)) {
  try {
    await client.chat.completions.create({ model, messages, ...change });
  } catch (error) {
    out[name] = error instanceof OpenAI[name] && Boolean(error.requestID);
  }
}
out.models = (await client.models.list()).data.map((one) => one.id).sort();
"""


def node(server: Served, model: str, program: str, folder: Path) -> dict[str, Any]:
    begin = BEGIN.replace("BASE", server.base_url).replace("MODEL", model)
    return json.loads(run_node(begin + program + END, server.key, folder))


@pytest.mark.parametrize("program", [PLAIN, STREAM], ids=["plain", "stream"])
def test_a_completion_with_its_reasoning(scripted: Served, tmp_path: Path, program: str) -> None:
    out = node(scripted, THINKS, program, tmp_path)
    assert out["text"] == "17 times 23 is 391."
    assert out["reasoning"] == "17 times 20 is 340, and 51 more."
    assert out["tokens"] > 0


def test_an_embedded_model_answers(embedded: Served, tmp_path: Path) -> None:
    out = node(embedded, "smollm2", STREAM, tmp_path)
    assert out["text"]
    assert out["tokens"] > 0


def test_the_loop_of_tools_that_the_package_runs(scripted: Served, tmp_path: Path) -> None:
    out = node(scripted, THINKS, TOOLS, tmp_path)
    assert out == {"city": "Skardu", "text": 'It is 21 degrees in Skardu. ({"degrees":21})'}


def test_structured_output(embedded: Served, tmp_path: Path) -> None:
    out = node(embedded, "smollm2", FORM, tmp_path)
    assert 7000 <= out["mountain"]["metres"] <= 8848


def test_errors_are_those_of_the_package(scripted: Served, tmp_path: Path) -> None:
    out = node(scripted, THINKS, ERRORS, tmp_path)
    assert out == {"NotFoundError": True, "BadRequestError": True, "models": [THINKS, "local"]}

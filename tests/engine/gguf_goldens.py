"""The texts that the embedded engine hands to llama.cpp, as they are meant to be.

After a change that is meant: `python tests/engine/gguf_goldens.py`, and read the diff.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from chogori.chat import (
    AllowedTools,
    Conversation,
    JsonFormat,
    NamedTool,
    Options,
    ToolCall,
    ToolSpec,
    assistant,
    system,
    tool_result,
    user,
)
from chogori.engine.gguf.grammar import code_grammar, grammar_for
from chogori.engine.gguf.prompt import turns

FOLDER = Path(__file__).with_name("golden")

PYTHON = ToolSpec(
    "python",
    "Run a Python program. Print what you want to see.",
    {
        "type": "object",
        "properties": {"code": {"type": "string", "contentMediaType": "text/x-python"}},
        "required": ["code"],
        "additionalProperties": False,
    },
)
READ_FILE = ToolSpec(
    "read_file",
    "Read a text file.\nLong ones are cut.",
    {
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "from_line": {"type": "integer", "minimum": 1, "default": 1},
        },
        "required": ["path"],
        "additionalProperties": False,
    },
)
BOTH = (PYTHON, READ_FILE)
CODE = ToolCall("functions.python:0", "python", '{"code":"print(6 * 7)\\n"}')
READ = ToolCall("functions.read_file:1", "read_file", '{"path":"a.txt"}')
READ_MORE = ToolCall("functions.read_file:2", "read_file", '{"path":"b.txt"}')
STORY = Conversation(
    [
        system("Be exact."),
        user("What is in a.txt, and what is 6 * 7?"),
        assistant(reasoning="I multiply.\n", calls=[CODE]),
        tool_result(CODE, "42\n"),
        assistant(reasoning="I read the file.", calls=[READ]),
        tool_result(READ, ""),
        user("Go on."),
        assistant("Nothing, and 42."),
    ]
)
READING = Conversation(
    [
        user("What does the file say that a.txt names?"),
        assistant(calls=[READ]),
        tool_result(READ, "Go on with b.txt."),
        assistant(calls=[READ_MORE]),
        tool_result(READ_MORE, "Hello."),
        assistant("Hello."),
    ]
)


def told(conversation: Conversation, tools: tuple[ToolSpec, ...]) -> str:
    made = turns(conversation, tools)
    return "".join(f"<<{turn['role']}>>\n{turn['content']}\n" for turn in made)


def grammar(
    tools: tuple[ToolSpec, ...], options: Options = Options(), *, after_output: bool = False
) -> str:
    return grammar_for(tools, options, after_output=after_output) or "(any text)\n"


ONE_OF = AllowedTools(("read_file",))
NESTED = ToolSpec("nested", "Nest.", {"$defs": {"A": {"type": "object"}}, "$ref": "#/$defs/A"})
GOLDENS: dict[str, Callable[[], str]] = {
    "prompt_with_tools.txt": lambda: told(STORY, BOTH),
    "prompt_without_tools.txt": lambda: told(STORY, ()),
    "prompt_without_system.txt": lambda: told(Conversation([user("Hi.")]), (PYTHON,)),
    "grammar_free.txt": lambda: grammar(()),
    "grammar_auto.txt": lambda: grammar(BOTH),
    "grammar_none.txt": lambda: grammar(BOTH, Options(tool_choice="none")),
    "grammar_required.txt": lambda: grammar(BOTH, Options(tool_choice="required")),
    "grammar_named.txt": lambda: grammar(BOTH, Options(tool_choice=NamedTool("python"))),
    "grammar_allowed.txt": lambda: grammar(BOTH, Options(tool_choice=ONE_OF)),
    "grammar_references.txt": lambda: grammar((NESTED,)),
    "prompt_judged.txt": lambda: told(READING, (READ_FILE,)),
    "grammar_judged.txt": lambda: grammar((READ_FILE,), after_output=True),
    "grammar_judged_required.txt": lambda: grammar(
        (READ_FILE,), Options(tool_choice="required"), after_output=True
    ),
    "grammar_judged_json.txt": lambda: grammar(
        (READ_FILE,), Options(response_format=JsonFormat()), after_output=True
    ),
    "grammar_not_judged.txt": lambda: grammar(BOTH, after_output=True),
    "grammar_code.txt": code_grammar,
    "grammar_json.txt": lambda: grammar((), Options(response_format=JsonFormat({"type": "array"}))),
    "grammar_any_json.txt": lambda: grammar(BOTH, Options(response_format=JsonFormat())),
}

if __name__ == "__main__":
    for name, make in GOLDENS.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")

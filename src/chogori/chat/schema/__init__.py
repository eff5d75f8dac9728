"""JSON schemas that whoever writes can be held to.

A schema becomes a grammar which allows nothing but values that satisfy it (Draft 2020-12), or it is
refused with the keyword that cannot be held. The grammar is for whatever engine writes by it; a
`Cursor` follows what has been written and knows the shortest ending. No engine and no HTTP in here.

    compiling   `compiled`: the gate            facets     which plain schemas hold together
    building    plain schemas to rules          negation   what it takes to fail a schema
    objects, lists, literals, formats           patterns   regular expressions, read with care
    grammar     rules, and the cursor           json_text  strings and numbers as they are written
    texts       sets of texts, by derivatives   style      where spaces may stand
"""

from chogori.chat.schema.compiling import Compiled, compiled
from chogori.chat.schema.grammar import Cursor, Grammar, Many, Symbol, Use
from chogori.chat.schema.style import COMPACT, SPACED, Style

__all__ = [
    "COMPACT",
    "SPACED",
    "Compiled",
    "Cursor",
    "Grammar",
    "Many",
    "Style",
    "Symbol",
    "Use",
    "compiled",
]

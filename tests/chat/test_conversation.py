"""The immutable conversation, its shared prefixes and what adapters attach to them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chogori.chat import Conversation, Message, ToolCall, assistant, system, tool_result, user
from strategies import messages

growth = st.lists(st.tuples(st.integers(0, 50), st.lists(messages, max_size=3)), max_size=12)
"""Again and again: which of the conversations so far grows, and by what."""


class Encoder:
    """An adapter's encoding that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Message] = []

    def __call__(self, message: Message) -> str:
        self.asked.append(message)
        return f"{message.role}:{message.text}"


def slow_chain_start(messages: Sequence[Message]) -> int:
    """`spec/k2.md` 3.6, read aloud: one past the last assistant message without tool calls."""
    last = -1
    for index, message in enumerate(messages):
        if message.role == "assistant" and len(message.tool_calls) == 0:
            last = index
    return last + 1


@given(growth)
def test_conversations_behave_as_lists_that_are_copied(
    plan: list[tuple[int, list[Message]]],
) -> None:
    grown = [(Conversation(), list[Message]())]
    for which, added in plan:
        conversation, plain = grown[which % len(grown)]
        grown.append((conversation.append(*added), plain + added))
    for conversation, plain in grown:
        assert list(conversation) == plain
        assert len(conversation) == len(plain)
        assert conversation == Conversation(plain)
        assert conversation.chain_start == slow_chain_start(plain)
        assert conversation.encoded("role", lambda m: m.role) == [m.role for m in plain]


@given(growth, st.lists(st.integers(0, 50), max_size=30))
def test_an_encoding_is_that_of_the_message_whenever_it_is_asked_for(
    plan: list[tuple[int, list[Message]]], asked: list[int]
) -> None:
    grown, encode, questions = [Conversation()], Encoder(), iter(asked)
    for which, added in plan:
        grown.append(grown[which % len(grown)].append(*added))
        conversation = grown[next(questions, 0) % len(grown)]
        wanted = [f"{m.role}:{m.text}" for m in conversation]
        assert conversation.encoded("key", encode) == wanted


@given(st.lists(messages, max_size=6), st.integers(-9, 9), st.integers(-9, 9) | st.none())
def test_indices_and_slices_are_those_of_a_list(
    plain: list[Message], start: int, stop: int | None
) -> None:
    conversation = Conversation(plain)
    conversation.append(user("later"))
    assert conversation[start:stop] == plain[start:stop]
    if -len(plain) <= start < len(plain):
        assert conversation[start] == plain[start]
    else:
        with pytest.raises(IndexError, match=f"message {start} of a conversation of {len(plain)}"):
            conversation[start]


def test_growing_an_old_conversation_leaves_those_grown_from_it_as_they_are() -> None:
    root = Conversation([system("be exact"), user("2+3?")])
    first = root.append(assistant("5"))
    second = root.append(assistant("6"), user("sure?"))
    third = root.append(assistant("7"))
    assert [m.text for m in root] == ["be exact", "2+3?"]
    assert [m.text for m in first] == ["be exact", "2+3?", "5"]
    assert [m.text for m in second] == ["be exact", "2+3?", "6", "sure?"]
    assert [m.text for m in third] == ["be exact", "2+3?", "7"]
    assert [c.chain_start for c in (root, first, second, third)] == [0, 3, 3, 3]


def test_an_encoding_is_made_once_and_shared_down_to_the_branch() -> None:
    encode = Encoder()
    root = Conversation([system("s"), user("u")])
    root.encoded("key", encode)
    left, right = root.append(assistant("left")), root.append(assistant("right"))
    for conversation in (left, right, left, root, right):
        conversation.encoded("key", encode)
    assert [m.text for m in encode.asked] == ["s", "u", "left", "right"]


def test_siblings_do_not_see_each_others_encodings_beyond_the_branch() -> None:
    root = Conversation([user("u")])
    left, right = root.append(assistant("left")), root.append(assistant("right"))
    assert left.encoded("key", lambda m: m.text) == ["u", "left"]
    assert right.encoded("key", lambda m: m.text) == ["u", "right"]
    assert root.encoded("key", lambda m: m.text) == ["u"]


def test_adapters_do_not_see_each_others_encodings() -> None:
    conversation = Conversation([user("u")])
    assert conversation.encoded("one", lambda m: 1) == [1]
    assert conversation.encoded("two", lambda m: "2") == ["2"]


def test_the_list_of_encodings_is_the_callers_own() -> None:
    conversation = Conversation([user("u")])
    conversation.encoded("key", lambda m: m.text).append("scribble")
    assert conversation.append(user("v")).encoded("key", lambda m: m.text) == ["u", "v"]


def test_an_encoding_that_failed_is_asked_for_again() -> None:
    conversation, faults = Conversation([user("a"), user("b")]), iter([True])

    def encode(message: Message) -> str:
        if message.text == "b" and next(faults, False):
            raise ValueError("not now")
        return message.text

    with pytest.raises(ValueError, match="not now"):
        conversation.encoded("key", encode)
    assert conversation.encoded("key", encode) == ["a", "b"]


def test_three_hundred_steps_encode_each_message_once() -> None:
    encode, conversation = Encoder(), Conversation([system("s"), user("task")])
    for step in range(300):
        call = ToolCall(f"call-{step}", "add", "{}")
        conversation = conversation.append(assistant(calls=[call]), tool_result(call, str(step)))
        conversation.encoded("wire", encode)
    assert len(encode.asked) == len(conversation) == 602


def test_threads_that_grow_from_one_place_do_not_mix() -> None:
    root, made = Conversation([user("root")]), dict[int, Conversation]()
    ready = threading.Barrier(8)

    def grow(number: int) -> None:
        ready.wait()
        conversation = root
        for step in range(50):
            conversation = conversation.append(user(f"{number}.{step}"))
            conversation.encoded("key", lambda m: m.text)
        made[number] = conversation

    threads = [threading.Thread(target=grow, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(map(len, made.values())) == {51: 8}
    for number, conversation in made.items():
        wanted = ["root", *(f"{number}.{step}" for step in range(50))]
        assert [m.text for m in conversation] == wanted
        assert conversation.encoded("key", lambda m: m.text) == wanted


def test_what_is_folded_is_made_of_what_came_before_and_each_message_once() -> None:
    asked: list[str] = []

    def fold(before: str | None, message: Message) -> str:
        asked.append(message.text)
        return f"{before or ''}{message.text}"

    root = Conversation([user("a"), user("b")])
    assert root.folded("all", fold) == ["a", "ab"]
    left, right = root.append(user("l"), user("m")), root.append(user("r"))
    assert left.folded("all", fold) == ["a", "ab", "abl", "ablm"]
    assert right.folded("all", fold)[-1] == "abr"
    assert root.folded("all", fold)[-1] == "ab"
    assert asked == ["a", "b", "l", "m", "r"]
    assert Conversation().folded("all", fold) == []


def test_what_is_attached_belongs_to_a_conversation_and_all_that_grows_from_it() -> None:
    root = Conversation([user("a")])
    kept = root.attached("key", list[str])
    left = root.append(user("l"))
    assert left.attached("key", list[str]) is kept
    assert root.append(user("r")).attached("key", list[str]) is not kept
    assert root.attached("other", list[str]) is not kept

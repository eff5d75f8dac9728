"""What a probe finds at endpoints with one fault each, over real HTTP on loopback."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any

import pytest

from api.endpoint import Answer, Respond, ScriptedEndpoint, refusal, reply, serving
from api.probed import Probed
from chogori.api import connect
from chogori.api.probe import probe
from chogori.api.probe_asking import MOST_REQUESTS, THINKING_TOKENS
from chogori.api.probe_findings import Finding, Report
from chogori.api.retries import Retries

THINKING = "kimi-k2-thinking"
NAMES = [
    "lists its models",
    "answers",
    "streams",
    "usage",
    "cached tokens",
    "reasoning",
    "thinking switch",
    "reasoning read",
    "old reasoning read",
    "insists on reasoning",
    "calls tools",
    "tool_choice none",
    "foreign call ids",
    "tool_choice required",
    "tool_choice named",
    "unique call ids",
    "JSON schema",
]
UNTOLD = ("thinking switch", "old reasoning read", "insists on reasoning")
"""What is not asked of a model that always thinks, and of which we know what it wants."""


async def probed(
    respond: Respond, name: str = THINKING, *, seconds: float = 20.0
) -> tuple[Report, ScriptedEndpoint]:
    listed = {"id": name, "context_length": 262_144}
    async with serving(models=[listed], respond=respond) as endpoint:
        model = connect(f"{endpoint.url}#{name}", api_key="sk-k", retries=Retries(tries=1))
        # Time is counted in deltas, so that no verdict hangs on how fast this machine is.
        report = await probe(
            model, seconds=seconds, total_seconds=1e9, clock=count().__next__, random=Random(7)
        )
        await model.aclose()
        return report, endpoint


def verdicts(report: Report) -> dict[str, str]:
    return {finding.name: finding.verdict for finding in report.findings}


def finding(report: Report, name: str) -> Finding:
    return next(finding for finding in report.findings if finding.name == name)


def changed(report: Report) -> dict[str, Any]:
    return {each.name: each.found for each in report.differences}


async def test_an_endpoint_without_fault_is_fit_for_runs_and_what_we_assumed() -> None:
    report, endpoint = await probed(Probed())
    assert list(verdicts(report)) == NAMES
    assert {name for name, verdict in verdicts(report).items() if verdict != "yes"} == set(UNTOLD)
    assert report.works
    assert changed(report) == {}
    assert report.profile == report.assumed
    assert report.requests == len(endpoint.bodies) + 1, "and the list of models"


@pytest.mark.parametrize(
    ("fault", "name", "verdict", "works"),
    [
        ({"reads": False}, "reasoning read", "no", False),
        ({"remembers": True}, "reasoning read", "not told", True),
        ({"shows": None}, "reasoning", "no", False),
        ({"shows": "reasoning"}, "reasoning read", "yes", True),
        ({"ids": "anew"}, "unique call ids", "no", True),
        ({"ids": "same"}, "unique call ids", "no", True),
        ({"pairs": "place"}, "foreign call ids", "no", False),
        ({"pairs": "wrong"}, "foreign call ids", "not told", True),
        ({"knows_foreign_ids": False}, "foreign call ids", "failed", False),
        ({"streams": False}, "streams", "no", True),
        ({"obeys_choice": False}, "tool_choice none", "no", True),
        ({"obeys_choice": False}, "tool_choice required", "no", True),
        ({"obeys_choice": False}, "tool_choice named", "no", True),
        ({"obeys_schema": False}, "JSON schema", "no", True),
        ({"counts": False}, "usage", "no", True),
        ({"caches": False}, "cached tokens", "not told", True),
        ({"takes_tools": False}, "calls tools", "failed", False),
    ],
)
async def test_a_fault_is_found_and_only_what_a_run_needs_is_fatal(
    fault: dict[str, Any], name: str, verdict: str, works: bool
) -> None:
    report, _ = await probed(Probed(**fault))
    assert (verdicts(report)[name], report.works) == (verdict, works)


@pytest.mark.parametrize(
    ("fault", "name", "profile"),
    [
        ({"reads": False}, THINKING, {"retention": "none"}),
        ({"takes_tools": False}, THINKING, {"native_tools": False}),
        ({}, "unheard-of", {"thinking": "switchable", "context_tokens": 262_144}),
        ({"switches": False}, "glm", {"thinking": "forced", "context_tokens": 262_144}),
        ({"shows": None}, "kimi-k2.5", {"thinking": "off"}),
        ({"reads_old": True}, "kimi-k2.6", {}),
        ({"reads_old": False}, "kimi-k2.6", {"retention": "chain"}),
    ],
)
async def test_the_profile_differs_where_the_endpoint_does(
    fault: dict[str, Any], name: str, profile: dict[str, Any]
) -> None:
    report, _ = await probed(Probed(**fault), name)
    assert changed(report) == profile


async def test_an_endpoint_that_insists_on_reasoning_is_given_it() -> None:
    report, _ = await probed(Probed(insists=True), "unheard-of")
    assert finding(report, "insists on reasoning").verdict == "yes"
    assert changed(report)["needs_reasoning"] is True
    assert verdicts(report)["reasoning read"] == "yes", "the control is asked again, with some"
    assert "failed" not in verdicts(report).values()
    assert report.works


async def test_reasoning_goes_back_under_the_name_it_came_under() -> None:
    report, endpoint = await probed(Probed(shows="reasoning"))
    assert "'reasoning'" in finding(report, "reasoning").seen
    sent = [message for body in endpoint.requests for message in body["messages"]]
    chosen = [message for message in sent if "I choose" in str(message.get("reasoning"))]
    assert chosen
    assert not any(message.get("reasoning_content") for message in sent)


async def test_a_model_that_cannot_say_the_word_says_nothing_of_its_endpoint() -> None:
    dull = Probed()

    def forgetful(body: dict[str, Any]) -> Answer:
        asks = "code word did you choose" in body["messages"][-1]["content"]
        return reply("I am not sure.") if asks else dull(body)

    report, _ = await probed(forgetful)
    assert finding(report, "reasoning read").verdict == "not told"
    assert report.works


async def test_the_code_word_stands_in_the_reasoning_and_nowhere_else() -> None:
    _, endpoint = await probed(Probed())
    word = finding((await probed(Probed()))[0], "reasoning read").seen.split("'")[1]
    holding = [body for body in endpoint.requests if word in str(body)]
    assert len(holding) == 1, "the control does not hold it, nor does anything later"
    [message] = [message for message in holding[0]["messages"] if word in str(message)]
    assert word in message.pop("reasoning_content")
    assert word not in str(message)
    assert message["tool_calls"], "it is of the same chain"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refusal(401, {"error": {"message": "no such key"}}), "no such key"),
        (Answer([b"<html><title>Welcome</title>"], headers={"Content-Type": "text/html"}), "page"),
        (refusal(500), "the trouble is the endpoint's own"),
        (Answer(then="hang"), "had not ended after 0.2 s"),
        (Answer([b"data: {"], then="drop"), "closed the connection"),
    ],
)
async def test_where_nobody_answers_nothing_further_is_asked(answer: Answer, said: str) -> None:
    report, endpoint = await probed(lambda body: answer, seconds=0.2)
    assert list(verdicts(report)) == ["lists its models", "answers"]
    assert said in report.findings[-1].seen
    assert not report.works
    assert report.profile is None
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize(
    ("failure", "number"),
    [*((refusal(500), number) for number in range(2, 13)), (Answer(then="hang"), 4)],
)
async def test_a_request_that_fails_is_a_finding(failure: Answer, number: int) -> None:
    mind = Probed()
    asked = count(1)

    def failing_once(body: dict[str, Any]) -> Answer:
        return failure if next(asked) == number else mind(body)

    report, _ = await probed(failing_once, "kimi-k2.6", seconds=1.0)
    assert set(NAMES) - set(verdicts(report)) <= set(NAMES[NAMES.index("calls tools") + 1 : -1])
    assert [each for each in report.findings if each.verdict in ("failed", "not told")]


@pytest.mark.parametrize("fault", [{"pairs": "place", "insists": True}, {"reads": False}, {}])
@pytest.mark.parametrize("name", ["unheard-of", "kimi-k2.6"])
async def test_no_probe_asks_more_than_it_may(fault: dict[str, Any], name: str) -> None:
    report, endpoint = await probed(Probed(**fault), name)
    assert report.requests == len(endpoint.bodies) + 1
    assert report.requests <= MOST_REQUESTS
    assert all(0 < body["max_tokens"] <= THINKING_TOKENS for body in endpoint.requests)


async def test_what_is_found_is_told_as_it_is_found() -> None:
    told: list[Finding] = []
    async with serving(respond=Probed()) as endpoint:
        model = connect(f"{endpoint.url}#{THINKING}", retries=Retries(tries=1))
        report = await probe(model, tell=told.append)
        await model.aclose()
    assert told == list(report.findings)
    assert verdicts(report)["lists its models"] == "yes"

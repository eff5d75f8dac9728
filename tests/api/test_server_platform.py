"""Keys, errors, models, usage, what is sent twice, what is measured, and the document of it all."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from asgi import Client
from jsonschema import Draft202012Validator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from server_models import StreamingModel
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from chogori.api import OpenGate, create_app
from chogori.api.platform import (
    Admission,
    Balance,
    Caller,
    Credentials,
    Demand,
    Refused,
    UsageQuery,
    UsageRow,
)
from chogori.api.server.open_gate import ANYBODY
from chogori.api.server.openapi import openapi
from chogori.chat import (
    Conversation,
    Finished,
    Options,
    ScriptedModel,
    TextDelta,
    ToolSpec,
    Usage,
    profile_for,
)
from chogori.errors import ConfigError

KEY = {"authorization": "Bearer sk-good"}
ROUTES = (
    ("POST", "/v1/chat/completions"),
    ("POST", "/openai/deployments/m/chat/completions"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/m"),
    ("POST", "/v1/tokenizers/estimate-token-count"),
    ("GET", "/v1/users/me/balance"),
    ("GET", "/v1/organization/usage/completions"),
    ("GET", "/v1/organization/costs"),
    ("GET", "/metrics"),
)


class OneKey(OpenGate):
    """Lets one key in, with the scopes and models it is given."""

    def __init__(self, caller: Caller = ANYBODY, rows: Sequence[UsageRow] = ()) -> None:
        self.caller = caller
        self.rows = list(rows)
        self.queries: list[UsageQuery] = []
        self.admitted = 0

    async def identify(self, credentials: Credentials) -> Caller:
        if credentials.key != "sk-good":
            raise Refused(
                401,
                "invalid_authentication_error",
                "invalid_api_key",
                "no",
                headers={"www-authenticate": "Bearer"},
            )
        return self.caller

    async def admit(self, caller: Caller, demand: Demand) -> Admission:
        self.admitted += 1
        return await super().admit(caller, demand)

    async def balance(self, caller: Caller) -> Balance | None:
        return Balance(cash=1_500_000, voucher=250_000)

    async def usage(self, caller: Caller, query: UsageQuery) -> list[UsageRow]:
        self.queries.append(query)
        return self.rows


def client_of(gate: OpenGate | None = None, **more: Any) -> Client:
    models = {
        name: ScriptedModel(lambda _: "hi", profile=profile_for(name)) for name in ("m", "a/b")
    }
    return Client(create_app(models, gate=gate or OneKey(), **more), KEY)


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_every_route_wants_a_key_before_it_reads_a_body(method: str, path: str) -> None:
    client = Client(client_of().app)
    for headers in ({}, {"authorization": "Bearer sk-bad"}, {"authorization": "Basic sk-good"}):
        response = await client.send(method, path, b"{", headers=headers)
        assert response.status == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert set(response.error) == {"message", "type", "param", "code"}


async def test_a_key_may_come_in_either_header() -> None:
    client = Client(client_of().app)
    assert (await client.get("/v1/models", headers={"x-api-key": "sk-good"})).status == 200
    assert (
        await client.get("/v1/models", headers={"authorization": "bearer sk-good"})
    ).status == 200


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_key_without_the_scope_is_told_which(method: str, path: str) -> None:
    client = client_of(OneKey(replace(ANYBODY, scopes=frozenset({"agent"}))))
    response = await client.send(method, path, b"{}")
    assert response.status == 403
    assert response.error["code"] == "insufficient_permissions"
    assert "scope" in response.error["message"]


async def test_a_key_sees_and_asks_its_own_models_alone() -> None:
    client = client_of(OneKey(replace(ANYBODY, models=frozenset({"a/b"}))))
    assert [m["id"] for m in (await client.get("/v1/models")).json["data"]] == ["a/b"]
    assert (await client.get("/v1/models/m")).status == 404
    assert (await client.get("/v1/models/a/b")).json["id"] == "a/b"
    refused = await client.ask()
    assert (refused.status, refused.error["code"]) == (403, "model_not_allowed")
    unknown = await client.ask({"model": "nope"})
    assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")


async def test_errors_have_one_form_and_carry_the_request_id() -> None:
    client = client_of()
    for method, path, status in (
        ("GET", "/nope", 404),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/chat/completions", 405),
        ("PUT", "/healthz", 405),
    ):
        response = await client.send(method, path)
        assert response.status == status
        assert set(response.error) == {"message", "type", "param", "code"}
        assert response.headers["x-request-id"] in response.error["message"]
    assert (await client.send("DELETE", "/v1/models")).headers["allow"] == "GET"


async def test_a_clients_own_request_id_comes_back() -> None:
    client = client_of()
    assert (await client.ask(headers={"x-request-id": "mine"})).headers["x-request-id"] == "mine"
    odd = await client.ask(headers={"x-request-id": "a\tb"})
    assert odd.headers["x-request-id"].startswith("req_")


async def test_a_fault_of_our_own_is_told_as_one_and_says_nothing_of_what_was_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def break_down(_: Conversation) -> str:
        raise ZeroDivisionError("secret hello")

    response = await Client(create_app({"m": ScriptedModel(break_down)})).ask()
    assert (response.status, response.error["code"]) == (500, "internal_error")
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text + response.body.decode()


async def test_the_log_of_requests_holds_no_key_and_no_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        await client_of().ask({"messages": [{"role": "user", "content": "secret"}]})
    assert "POST /v1/chat/completions 200" in caplog.text
    assert "sk-good" not in caplog.text
    assert "secret" not in caplog.text


async def test_tokens_are_counted_as_the_model_counts_them() -> None:
    messages = [{"role": "user", "content": "one two three"}]
    body = {"model": "m", "messages": messages}
    response = await client_of().send("POST", "/v1/tokenizers/estimate-token-count", body)
    assert response.json == {"data": {"total_tokens": 3}}


async def test_the_balance_is_told_in_dollars() -> None:
    data = (await client_of().get("/v1/users/me/balance")).json["data"]
    assert data == {"available_balance": 1.75, "voucher_balance": 0.25, "cash_balance": 1.5}


async def test_usage_comes_in_buckets_and_pages() -> None:
    row = UsageRow(86_400, 172_800, Usage(9, 5, 2, 4), 3, 1_250_000, project="p")
    gate = OneKey(rows=[row])
    client = client_of(gate)
    path = "/v1/organization/usage/completions?start_time=90000&end_time=400000&limit=2"
    page = (await client.get(f"{path}&group_by=project_id&models=a,b")).json
    assert [bucket["start_time"] for bucket in page["data"]] == [86_400, 172_800]
    [result] = page["data"][0]["results"]
    assert (result["input_tokens"], result["input_cached_tokens"], result["output_tokens"]) == (
        9,
        4,
        5,
    )
    assert (result["num_model_requests"], result["project_id"]) == (3, "p")
    assert page["has_more"]
    assert (gate.queries[0].group_by, gate.queries[0].models) == (("project_id",), ("a", "b"))
    rest = (await client.get(f"{path}&page={page['next_page']}")).json
    assert [bucket["start_time"] for bucket in rest["data"]] == [259_200, 345_600]
    assert not rest["has_more"]
    costs = (await client.get("/v1/organization/costs?start_time=86400&end_time=172800")).json
    assert costs["data"][0]["results"][0]["amount"] == {"value": 1.25, "currency": "usd"}


async def test_usage_and_costs_are_grouped_by_what_openai_groups_them_by() -> None:
    gate = OneKey()
    client = client_of(gate)
    usage = "/v1/organization/usage/completions?start_time=0"
    assert (await client.get(f"{usage}&group_by=user_id,model,batch,service_tier")).status == 200
    assert (await client.get(f"{usage}&limit=32")).status == 400
    costs = "/v1/organization/costs?start_time=0&limit=180"
    assert (await client.get(f"{costs}&group_by=line_item,model,project_id")).status == 200
    assert [query.group_by for query in gate.queries] == [("model",), ("model", "project_id")]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "start_time=x",
        "start_time=-1",
        "start_time=5&end_time=4",
        "start_time=5&limit=0",
        "start_time=5&limit=181",
        "start_time=5&group_by=user_id",
        "start_time=5&bucket_width=1y",
        "start_time=5&bucket_width=",
        "start_time=5&group_by=colour",
        "start_time=5&page=next",
        "start_time=5&start_time=6",
        f"start_time={'9' * 5000}",
        f"start_time={'0' * 5000}5",
        f"start_time=5&page=page_{'0' * 5000}5",
    ],
)
async def test_a_query_that_is_wrong_is_refused(query: str) -> None:
    assert (await client_of().get(f"/v1/organization/costs?{query}")).status == 400


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_is_sent_twice_under_one_key_is_answered_twice_and_done_once(
    stream: bool,
) -> None:
    gate = OneKey()
    client = client_of(gate)
    once = {"idempotency-key": "k"}
    first = await client.ask({"stream": stream}, headers=once)
    second = await client.ask({"stream": stream}, headers=once)
    assert second.body == first.body
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.headers["idempotency-replayed"] == "true"
    assert gate.admitted == 1
    other = await client.ask({"stream": stream, "n": 2}, headers=once)
    assert (other.status, other.headers["x-should-retry"]) == (409, "false")


async def test_what_one_key_was_answered_is_not_shown_to_another_of_its_organisation() -> None:
    gate = OneKey()
    client, once = client_of(gate), {"idempotency-key": "k"}
    assert (await client.ask(headers=once)).status == 200
    gate.caller = replace(ANYBODY, key_id="another", shows_reasoning=False)
    response = await client.ask(headers=once)
    assert "idempotency-replayed" not in response.headers
    assert gate.admitted == 2


async def test_a_model_that_a_key_may_no_longer_ask_is_not_answered_for_again() -> None:
    gate = OneKey()
    client, once = client_of(gate), {"idempotency-key": "k"}
    assert (await client.ask(headers=once)).status == 200
    gate.caller = replace(ANYBODY, models=frozenset({"a/b"}))
    assert (await client.ask(headers=once)).status == 403


async def test_a_second_request_under_a_key_waits_for_the_first() -> None:
    goes_on = asyncio.Event()
    model = StreamingModel([TextDelta("hi"), Finished("stop")], goes_on=goes_on, waits_at=0)
    client = Client(create_app({"m": model}))
    first = asyncio.create_task(client.ask(headers={"idempotency-key": "k"}))
    while not model.running:
        await asyncio.sleep(0)
    second = await client.ask(headers={"idempotency-key": "k"})
    assert (second.status, second.headers["x-should-retry"]) == (409, "true")
    goes_on.set()
    assert (await first).status == 200


async def test_a_request_that_failed_may_be_sent_again_under_its_key() -> None:
    client, once = client_of(), {"idempotency-key": "k"}
    assert (await client.ask({"temperature": 9}, headers=once)).status == 400
    assert (await client.ask(headers=once)).status == 200


async def test_pages_of_other_origins_may_not_unless_they_are_named() -> None:
    theirs = {"origin": "https://evil.example"}
    ours = {"origin": "https://ours.example"}
    closed = client_of()
    assert (
        "access-control-allow-origin" not in (await closed.get("/v1/models", headers=ours)).headers
    )
    assert (await closed.send("OPTIONS", "/v1/models", headers=ours)).status == 405
    client = client_of(origins=["https://ours.example"])
    before = await client.send("OPTIONS", "/v1/chat/completions", headers=ours)
    assert (before.status, before.headers["access-control-allow-origin"]) == (204, ours["origin"])
    wanted = {"access-control-request-headers": "authorization,x-stainless-os,X-Stainless-Lang,x-y"}
    asked = await client.send("OPTIONS", "/v1/chat/completions", headers=ours | wanted)
    allowed = asked.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "x-stainless-os", "x-stainless-lang"} < set(allowed)
    assert "x-y" not in allowed
    assert "access-control-allow-credentials" not in before.headers
    assert "access-control-allow-origin" not in (await client.ask(headers=theirs)).headers


class LooksLong(ScriptedModel):
    """Takes its time to find out that it can do what it is asked."""

    goes_on = threading.Event()

    def check(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> None:
        assert self.goes_on.wait(60)


async def test_while_one_request_is_looked_through_others_are_answered() -> None:
    model = LooksLong(lambda _: "hi", profile=profile_for("m"))
    client = Client(create_app({"m": model}))
    first = asyncio.create_task(client.ask())
    assert (await client.get("/v1/models")).status == 200
    assert not first.done()
    model.goes_on.set()
    assert (await first).status == 200


async def test_more_routes_are_answered_without_a_key() -> None:
    async def show(request: Any) -> PlainTextResponse:
        return PlainTextResponse("a page")

    client = Client(client_of(routes=[Route("/", show)]).app)
    response = await client.get("/")
    assert (response.status, response.body) == (200, b"a page")
    assert response.headers["x-request-id"].startswith("req_")
    assert (await client.get("/other")).status == 404


async def test_health_wants_no_key() -> None:
    client = Client(client_of().app)
    assert (await client.get("/healthz")).json == {"status": "ok"}
    assert (await client.get("/readyz")).json == {"status": "ready"}


async def test_figures_tell_requests_tokens_and_what_the_server_added() -> None:
    client = client_of()
    await client.ask()
    await client.ask({"temperature": 9})
    text = (await client.get("/metrics")).body.decode()
    assert 'chogori_requests_total{route="/v1/chat/completions",status="200"} 1.0' in text
    assert 'chogori_refusals_total{code="invalid_value"} 1.0' in text
    assert 'chogori_tokens_total{kind="completion",model="m"} 1.0' in text
    assert "chogori_overhead_seconds_count 1.0" in text


async def test_a_span_tells_tokens_and_never_what_was_said() -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    client = client_of(tracer=provider.get_tracer("test"))
    parent = f"00-{'1' * 32}-{'2' * 16}-01"
    await client.ask({"stream": True}, headers={"traceparent": parent})
    [span] = kept.get_finished_spans()
    told: Any = span.attributes
    assert span.name == "chat m"
    assert told["gen_ai.usage.output_tokens"] == 1
    assert told["gen_ai.response.finish_reasons"] == ("stop",)
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" == "1" * 32
    assert "hello" not in span.to_json()


def test_the_document_names_every_route_and_its_schemas_are_schemas() -> None:
    document: Any = json.loads(openapi(["m"]))
    assert set(ROUTES) <= {
        (method.upper(), path.replace("{model}", "m"))
        for path, item in document["paths"].items()
        for method in item
    }
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


async def test_answers_are_what_the_document_says() -> None:
    client = client_of(OneKey(rows=[UsageRow(0, 86_400, Usage(1, 1), 1, 5)]))
    document = (await client.get("/openapi.json")).json
    older = (await client.get("/openapi-3.0.json")).json
    assert older["openapi"] == "3.0.3"
    assert '"null"' not in json.dumps(older)

    def check(name: str, value: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        Draft202012Validator(schema).validate(value)

    check("ChatCompletion", (await client.ask()).json)
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    for chunk in (await client.ask(usage)).chunks:
        check("ChatChunk", chunk)
    check("Error", (await client.ask({"n": 0})).json)
    check("ModelList", (await client.get("/v1/models")).json)
    check("Balance", (await client.get("/v1/users/me/balance")).json)
    span = "?start_time=0&end_time=86400"
    check("UsagePage", (await client.get(f"/v1/organization/usage/completions{span}")).json)
    check("CostPage", (await client.get(f"/v1/organization/costs{span}")).json)


def test_a_server_needs_a_model() -> None:
    with pytest.raises(ConfigError):
        create_app({})

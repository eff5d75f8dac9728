/** What this page asks of its server, and what goes wrong, in words for people. */

import { readEvents } from "./sse.js";

/** A refusal or a failure. Its message can be shown as it is. */
export class ServerError extends Error {
  constructor(message, { status = 0, code = null, waitSeconds = null, requestId = null } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.waitSeconds = waitSeconds;
    this.requestId = requestId;
  }
}

/** The JSON of a GET. */
export async function get(path, key) {
  const response = await request(path, { headers: headers(key) });
  return response.json();
}

/**
 * The chunks of a completion. It ends only after the server said that it is done: a stream that
 * just stops is an error, as the reply may not be whole.
 */
export async function* complete(body, key, signal) {
  const response = await request("/v1/chat/completions", {
    method: "POST",
    headers: { ...headers(key), "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  const requestId = response.headers.get("x-request-id");
  try {
    for await (const text of readEvents(response.body)) {
      if (text === "[DONE]") return;
      const chunk = JSON.parse(text);
      if (chunk.error) throw new ServerError(told(chunk.error), { code: chunk.error.code, requestId });
      yield chunk;
    }
  } catch (error) {
    if (error instanceof ServerError || error.name === "AbortError") throw error;
    throw new ServerError("The connection broke while the reply was coming.", { requestId });
  }
  throw new ServerError("The reply ended before it was whole.", { requestId });
}

function headers(key) {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { ...options, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server does not answer. Is it running?");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new ServerError(told(body.error) || `The server answered ${response.status}.`, {
    status: response.status,
    code: body.error?.code ?? null,
    waitSeconds: Number(response.headers.get("retry-after")) || null,
    requestId: response.headers.get("x-request-id"),
  });
}

function told(error) {
  if (typeof error === "string") return error;
  return typeof error?.message === "string" ? error.message : "";
}

/**
 * The conversation, as this tab keeps it. Everything that is shown is made from it alone, so a
 * reload shows what was there: also a reply that was coming, which is then `cut`.
 *
 * A message is {role: "user", content}, {role: "tool", id, name, content} or a reply:
 *   {role: "assistant", model, content, reasoning, calls: [{id, name, arguments}],
 *    state: "writing" | "whole" | "stopped" | "cut" | "failed",
 *    finish, usage, cost, seconds, wrong}
 */

const PLACE = "chogori.talk";

export class Talk {
  constructor(storage = sessionStorage) {
    this.storage = storage;
    this.messages = [];
    try {
      this.messages = JSON.parse(storage.getItem(PLACE))?.messages ?? [];
    } catch {
      // What another version of this page kept is of no use.
    }
    for (const message of this.messages) {
      if (message.state === "writing") message.state = "cut";
    }
  }

  get last() {
    return this.messages.at(-1);
  }

  /** The calls of the last reply that have no result yet. */
  get open() {
    const at = this.messages.findLastIndex((message) => message.role === "assistant");
    if (at < 0 || !isCalling(this.messages[at])) return [];
    const answered = new Set(this.messages.slice(at + 1).map((message) => message.id));
    return this.messages[at].calls.filter((call) => !answered.has(call.id));
  }

  /** Whether the model is due to speak: all that it called for is there. */
  get isDue() {
    return this.last?.role === "tool" && this.open.length === 0;
  }

  add(message) {
    this.messages.push(message);
    this.keep();
    return message;
  }

  /** A reply that is about to come. */
  begin(model) {
    return this.add({
      role: "assistant", model, content: "", reasoning: "", calls: [],
      state: "writing", finish: null, usage: null, cost: null, seconds: 0, wrong: null,
    });
  }

  drop(message) {
    this.messages = this.messages.filter((one) => one !== message);
    this.keep();
  }

  clear() {
    this.messages = [];
    this.keep();
  }

  keep() {
    try {
      this.storage.setItem(PLACE, JSON.stringify({ messages: this.messages }));
    } catch {
      // The tab's storage is full: the conversation goes on, though a reload will lose its end.
    }
  }

  /** What is sent: a reply that is `going` on is left for the model to go on with. */
  wire(system, going = null) {
    const sent = system ? [{ role: "system", content: system }] : [];
    for (const message of this.messages) {
      if (message === going) {
        sent.push({ ...spoken(message), partial: true });
        break;
      }
      if (message.role === "user") sent.push({ role: "user", content: message.content });
      if (message.role === "tool") {
        sent.push({ role: "tool", tool_call_id: message.id, content: message.content });
      }
      if (message.role === "assistant" && (message.content || isCalling(message))) {
        sent.push(spoken(message));
      }
    }
    return sent;
  }
}

/** Whether a reply ended in calls that can be carried out. */
export function isCalling(message) {
  return message.state === "whole" && message.finish === "tool_calls" && message.calls.length > 0;
}

/** Fold a chunk of a stream into the reply. */
export function fold(message, chunk) {
  if (chunk.usage) message.usage = added(message.earlier, chunk.usage);
  const choice = chunk.choices?.[0];
  if (!choice) return;
  const delta = choice.delta ?? {};
  message.content += delta.content ?? "";
  message.reasoning += delta.reasoning_content ?? delta.reasoning ?? "";
  for (const piece of delta.tool_calls ?? []) {
    const call = (message.calls[piece.index] ??= { id: "", name: "", arguments: "" });
    call.id += piece.id ?? "";
    call.name += piece.function?.name ?? "";
    call.arguments += piece.function?.arguments ?? "";
  }
  if (choice.finish_reason) message.finish = choice.finish_reason;
}

/** Tokens of a reply that took more than one request. */
function added(earlier, usage) {
  const counts = counted(usage);
  if (!earlier) return counts;
  return Object.fromEntries(Object.entries(counts).map(([name, n]) => [name, n + earlier[name]]));
}

function counted(usage) {
  return {
    prompt: usage.prompt_tokens ?? 0,
    completion: usage.completion_tokens ?? 0,
    cached: usage.prompt_tokens_details?.cached_tokens ?? usage.cached_tokens ?? 0,
    reasoning: usage.completion_tokens_details?.reasoning_tokens ?? 0,
  };
}

/** Dollars for some tokens, by the prices of /v1/models; null where there are none. */
export function costOf(usage, pricing) {
  if (!usage || !pricing) return null;
  const price = (name) => Number(pricing[name] ?? 0);
  const cached = pricing.input_cache_read === undefined ? price("prompt") : price("input_cache_read");
  const cost = (usage.prompt - usage.cached) * price("prompt") + usage.cached * cached
    + usage.completion * price("completion");
  return Number.isFinite(cost) ? cost : null;
}

function spoken(message) {
  const sent = { role: "assistant", content: message.content };
  if (message.reasoning) sent.reasoning_content = message.reasoning;
  if (isCalling(message)) {
    sent.tool_calls = message.calls.map((call) => ({
      id: call.id, type: "function", function: { name: call.name, arguments: call.arguments },
    }));
  }
  return sent;
}

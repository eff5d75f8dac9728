/** Draws messages. A view can be shown again at any time, and changes only what differs. */

import { element, setText } from "./elements.js";
import { showMarkdown } from "./markdown.js";
import { isCalling } from "./talk.js";

const CUT = {
  stopped: "Stopped. What had come is kept.",
  cut: "The page was left while this reply was coming. What had come is kept.",
};
const ENDS = {
  length: "The reply is as long as it may be.",
  content_filter: "The reply was ended by a content filter.",
};

/** The list item of what a person said. */
export function drawQuestion(message) {
  return element("li", { class: "mine" }, element("div", {}, message.content));
}

/** One reply: reasoning folded, text, a card for each call, and how it ended. */
export class ReplyView {
  /** `does` is told what a person wants: {again, goOn, result(call, text)}. */
  constructor(does) {
    this.does = does;
    this.thought = element("div", { tabindex: 0 });
    this.title = element("summary");
    this.reasoning = element("details", { class: "reasoning", hidden: true }, this.title, this.thought);
    this.text = element("div", { class: "text" });
    this.cards = element("div");
    this.end = element("div", { class: "end" });
    this.item = element("li", { class: "reply" }, this.reasoning, this.text, this.cards, this.end);
    this.views = [];
  }

  show(message, results = new Map(), canAct = false) {
    const isWriting = message.state === "writing";
    this.item.classList.toggle("writing", isWriting);
    this.item.setAttribute("aria-busy", String(isWriting));
    this.showReasoning(message, isWriting);
    showMarkdown(this.text, message.content);
    this.showCalls(message, results, canAct);
    if (isWriting) this.end.replaceChildren();
    else this.showEnd(message, canAct);
  }

  showReasoning(message, isWriting) {
    const isThinking = isWriting && !message.content && !message.calls.length;
    this.reasoning.hidden = !message.reasoning && !isThinking;
    this.reasoning.classList.toggle("thinking", isThinking);
    const words = message.reasoning.split(/\s+/).filter(Boolean).length;
    const told = isThinking ? (words ? "Thinking" : "Waiting for the model") : "Reasoning";
    setText(this.title, words ? `${told} (${words} ${words === 1 ? "word" : "words"})` : told);
    if (this.thought.textContent !== message.reasoning) this.thought.textContent = message.reasoning;
  }

  showCalls(message, results, canAct) {
    while (this.views.length > message.calls.length) this.views.pop().card.remove();
    message.calls.forEach((call, number) => {
      if (!this.views[number]) {
        this.views[number] = new CallView((text) => this.does.result(call, text));
        this.cards.append(this.views[number].card);
      }
      this.views[number].show(call, message, results.get(call.id), canAct);
    });
  }

  showEnd(message, canAct) {
    const parts = [];
    const why = CUT[message.state] ?? (message.state === "whole" ? ENDS[message.finish] : null);
    if (why) parts.push(element("span", { class: "why" }, why));
    if (message.wrong) parts.push(element("span", { class: "why failed", role: "alert" }, message.wrong));
    if (canAct && canGoOn(message)) {
      parts.push(element("button", { type: "button", class: "go-on", onclick: this.does.goOn }, "Continue"));
    }
    if (canAct && message.state !== "whole") {
      parts.push(element("button", { type: "button", class: "again", onclick: this.does.again }, "Ask again"));
    }
    const spent = spentOn(message);
    if (spent) parts.push(element("span", { class: "spent" }, spent));
    this.end.replaceChildren(...parts);
  }
}

/** Whether the model can be asked to go on with what it wrote. */
export function canGoOn(message) {
  const isCut = message.state !== "whole" || message.finish === "length";
  return isCut && Boolean(message.content) && message.calls.length === 0;
}

/** One call: its arguments, then its result, or a place to type it. */
class CallView {
  constructor(answer) {
    this.name = element("h3");
    this.state = element("span");
    this.input = element("pre", { tabindex: 0, "aria-label": "Arguments" });
    this.output = element("pre", { tabindex: 0, "aria-label": "Result" });
    this.result = element("div", { class: "result", hidden: true }, element("p", {}, "Result"), this.output);
    const typed = element("textarea", { rows: 1, required: true });
    this.form = element("form", {
      hidden: true,
      onsubmit: (event) => {
        event.preventDefault();
        answer(typed.value);
      },
    }, element("label", {}, "What does this tool return?", typed), element("button", {}, "Give"));
    this.card = element("section", { class: "card" },
      element("header", {}, this.name, this.state), this.input, this.result, this.form);
  }

  show(call, message, result, canAct) {
    const isWriting = message.state === "writing";
    const isWaiting = result === undefined && isCalling(message);
    setText(this.name, call.name || "…");
    this.card.setAttribute("aria-label", `Tool call ${call.name}`);
    setText(this.input, indented(call.arguments));
    const cut = isWriting ? "is being written" : "cut: it is not carried out";
    setText(this.state, result !== undefined ? "done" : isWaiting ? "waits for its result" : cut);
    this.card.classList.toggle("done", result !== undefined);
    this.card.classList.toggle("cut", result === undefined && !isWaiting && !isWriting);
    this.result.hidden = result === undefined;
    setText(this.output, result ?? "");
    this.form.hidden = !(isWaiting && canAct);
  }
}

function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** Tokens, dollars and seconds of a reply, in one line. */
export function spentOn(message) {
  const { usage, cost, seconds } = message;
  if (!usage) return "";
  const parts = [
    message.model,
    `${count(usage.prompt)} tokens in${usage.cached ? ` (${count(usage.cached)} cached)` : ""}`,
    `${count(usage.completion)} out${usage.reasoning ? ` (${count(usage.reasoning)} reasoning)` : ""}`,
  ];
  if (cost !== null && cost !== undefined) parts.push(dollars(cost));
  if (seconds) parts.push(`${seconds.toFixed(1)} s`);
  return parts.join(" · ");
}

/** Tokens and dollars of the whole conversation. */
export function totalOf(messages) {
  const replies = messages.filter((message) => message.usage);
  if (!replies.length) return "";
  const tokens = replies.reduce((sum, { usage }) => sum + usage.prompt + usage.completion, 0);
  const priced = replies.filter((message) => message.cost !== null);
  const cost = priced.reduce((sum, message) => sum + message.cost, 0);
  return `${count(tokens)} tokens${priced.length ? ` · ${dollars(cost)}` : ""} in this conversation`;
}

function count(number) {
  return number.toLocaleString("en-US");
}

function dollars(amount) {
  return amount && amount < 0.01 ? `$${amount.toFixed(6)}` : `$${amount.toFixed(4)}`;
}

/** The chat page: what a person does here, and what follows from it. */

import { element, setText } from "./elements.js";
import { ServerError, complete, get } from "./server.js";
import { Talk, costOf, fold, isCalling } from "./talk.js";
import { SPECS, run } from "./tools.js";
import { ReplyView, canGoOn, drawQuestion, totalOf } from "./views.js";

const KEY = "chogori.key";
const SETTINGS = "chogori.settings";
const KEEP_MS = 250;
const MOST_ROUNDS = 30; // of tools, before a person must speak again
const IDEAS = ["What can you help me with?", "Explain why the sky is blue", "How much is 17 × 23?"];

const at = (id) => document.getElementById(id);
const talk = new Talk();
const views = new Map();
const models = new Map();
let settings = { system: "", pageTools: false, ownTools: [], theme: "", model: "" };
let running = null; // the AbortController of the reply that is coming
let isLeaving = false; // from here on nothing more is kept

// What is shown -----------------------------------------------------------------------------------

function show() {
  const results = new Map(talk.messages.filter((one) => one.role === "tool").map((one) => [one.id, one.content]));
  const items = [];
  for (const message of talk.messages) {
    if (message.role === "tool") continue;
    if (!views.has(message)) {
      views.set(message, message.role === "user" ? { item: drawQuestion(message) } : new ReplyView(does(message)));
    }
    const view = views.get(message);
    view.show?.(message, results, !running && isNewest(message));
    items.push(view.item);
  }
  const list = at("talk");
  items.forEach((item, number) => list.children[number] !== item && list.insertBefore(item, list.children[number] ?? null));
  while (list.children.length > items.length) list.lastElementChild.remove();
  at("welcome").hidden = items.length > 0;
  at("send").hidden = Boolean(running);
  at("stop").hidden = !running;
  at("model").disabled = models.size === 0 || Boolean(running);
  setText(at("spent"), totalOf(talk.messages));
}

function isNewest(message) {
  return message === talk.messages.findLast((one) => one.role === "assistant") && talk.last.role !== "user";
}

function does(message) {
  return {
    again: () => { talk.drop(message); speak(); },
    goOn: () => speak(message),
    result: (call, text) => { talk.add({ role: "tool", id: call.id, name: call.name, content: text }); goOn(); },
  };
}

function notice(text) {
  setText(at("notice"), text);
  at("notice").hidden = !text;
}

function say(text) {
  setText(at("status"), text);
}

// What is asked -----------------------------------------------------------------------------------

function ask(question) {
  if (!question.trim() || running) return;
  for (const call of talk.open) {
    talk.add({ role: "tool", id: call.id, name: call.name, content: "not carried out: the user went on" });
  }
  talk.add({ role: "user", content: question });
  speak();
}

/** Carry out the calls that this page can, and let the model speak when all results are there. */
function goOn() {
  for (const call of talk.open) {
    const content = run(call, settings.pageTools);
    if (content !== null) talk.add({ role: "tool", id: call.id, name: call.name, content });
  }
  const since = talk.messages.findLastIndex((one) => one.role === "user");
  const rounds = talk.messages.slice(since).filter((one) => one.role === "assistant").length;
  if (talk.isDue && rounds < MOST_ROUNDS) speak();
  else show();
}

/** Have the model reply; or, given a reply that was cut, go on with it. */
async function speak(going = null) {
  if (running) return;
  const model = settings.model;
  const sent = request(going);
  const message = going ?? talk.begin(model);
  Object.assign(message, { state: "writing", wrong: null, finish: null, earlier: message.usage, model });
  running = new AbortController();
  notice("");
  say("The model is replying.");
  const began = performance.now() - 1000 * message.seconds;
  const redraw = redrawing(message);
  show();
  scrollDown(true);
  try {
    for await (const chunk of complete(sent, sessionStorage.getItem(KEY), running.signal)) {
      fold(message, chunk);
      redraw();
    }
    message.state = "whole";
  } catch (error) {
    fail(message, error);
  }
  delete message.earlier;
  message.seconds = (performance.now() - began) / 1000;
  message.cost = costOf(message.usage, models.get(model)?.pricing);
  running = null;
  if (isLeaving) return;
  talk.keep();
  say(message.state === "whole" ? "The reply is there." : "The reply was cut.");
  if (isCalling(message)) goOn();
  else show();
  scrollDown();
}

function request(going) {
  const sent = { model: settings.model, messages: talk.wire(settings.system, going) };
  const tools = [...(settings.pageTools ? SPECS : []), ...settings.ownTools];
  return tools.length ? { ...sent, tools } : sent;
}

/** Draw and keep what has come, but not for every chunk. */
function redrawing(message) {
  let isDue = false;
  let kept = performance.now();
  return () => {
    if (performance.now() - kept > KEEP_MS) {
      kept = performance.now();
      talk.keep();
    }
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      if (message.state !== "writing") return; // it was shown whole in the meantime
      views.get(message)?.show(message);
      scrollDown();
    });
  };
}

function fail(message, error) {
  if (error.name === "AbortError") {
    message.state = "stopped";
    return;
  }
  if (isLeaving) return; // the browser broke the connection; what is kept says so
  message.state = "failed";
  message.wrong = wording(error);
  if (!(error instanceof ServerError)) console.error(error);
  if (error.status === 401) askForKey(error.message);
}

function wording(error) {
  if (!(error instanceof ServerError)) return `This page failed: ${error.message}`;
  const wait = error.waitSeconds ? ` Try again in ${error.waitSeconds} s.` : "";
  const id = error.requestId && !error.message.includes(error.requestId) ? ` (${error.requestId})` : "";
  return `${error.message}${wait}${id}`;
}

/** Stay at the end while the end is in sight. */
function scrollDown(always = false) {
  const main = document.querySelector("main");
  if (always || main.scrollHeight - main.scrollTop - main.clientHeight < 160) main.scrollTop = main.scrollHeight;
}

// Keys, models, settings --------------------------------------------------------------------------

async function findModels() {
  const key = sessionStorage.getItem(KEY);
  let told;
  try {
    told = await get("/v1/models", key);
  } catch (error) {
    if (error.status === 401) askForKey(key ? error.message : null);
    else notice(wording(error));
    return;
  }
  notice("");
  models.clear();
  for (const model of told.data) models.set(model.id, model);
  if (!models.has(settings.model)) settings.model = models.keys().next().value ?? "";
  const options = [...models.keys()].map((id) => element("option", { value: id }, id));
  at("model").replaceChildren(...(options.length ? options : [element("option", { value: "" }, "none")]));
  at("model").value = settings.model;
  if (!models.size) notice("This key may ask none of the models that are served here.");
  show();
  if (!at("settings-dialog").open) at("question").focus();
}

function askForKey(why) {
  if (why) setText(at("key-why"), why);
  at("key").value = "";
  if (!at("key-dialog").open) at("key-dialog").showModal();
}

function keepSettings() {
  sessionStorage.setItem(SETTINGS, JSON.stringify(settings));
  document.documentElement.dataset.theme = settings.theme;
}

function openSettings() {
  at("system").value = settings.system;
  at("page-tools").checked = settings.pageTools;
  at("own-tools").value = settings.ownTools.length ? JSON.stringify(settings.ownTools, null, 2) : "";
  document.querySelector(`[name=theme][value="${settings.theme}"]`).checked = true;
  at("settings-wrong").hidden = true;
  at("settings-dialog").showModal();
}

function saveSettings() {
  let ownTools;
  try {
    ownTools = at("own-tools").value.trim() ? JSON.parse(at("own-tools").value) : [];
    if (!Array.isArray(ownTools)) throw new Error("a list is expected");
  } catch (error) {
    setText(at("settings-wrong"), `The tools are not a JSON list: ${error.message}`);
    at("settings-wrong").hidden = false;
    return;
  }
  const theme = document.querySelector("[name=theme]:checked").value;
  settings = { ...settings, system: at("system").value, pageTools: at("page-tools").checked, ownTools, theme };
  keepSettings();
  at("settings-dialog").close();
}

// What a person does ------------------------------------------------------------------------------

function sendQuestion() {
  const question = at("question");
  if (running || !settings.model) return;
  ask(question.value);
  question.value = "";
  grow();
}

function grow() {
  const question = at("question");
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight + 2}px`;
}

function listen() {
  const on = (id, event, then) => at(id).addEventListener(event, then);
  const submit = (id, then) => at(id).querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    then();
  });
  on("ask", "submit", (event) => { event.preventDefault(); sendQuestion(); });
  on("question", "input", grow);
  on("question", "keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    sendQuestion();
  });
  on("stop", "click", () => running?.abort());
  on("new", "click", () => { running?.abort(); talk.clear(); views.clear(); notice(""); show(); at("question").focus(); });
  on("model", "change", () => { settings.model = at("model").value; keepSettings(); });
  on("settings", "click", openSettings);
  on("close-settings", "click", () => at("settings-dialog").close());
  on("change-key", "click", () => { at("settings-dialog").close(); askForKey(null); });
  submit("settings-dialog", saveSettings);
  submit("key-dialog", () => {
    sessionStorage.setItem(KEY, at("key").value.trim());
    at("key-dialog").close();
    findModels();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) running?.abort();
  });
  addEventListener("pagehide", () => { talk.keep(); isLeaving = true; });
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}

function start() {
  try {
    settings = { ...settings, ...JSON.parse(sessionStorage.getItem(SETTINGS)) };
  } catch {
    // What another version of this page kept is of no use.
  }
  document.documentElement.dataset.theme = settings.theme;
  at("ideas").append(...IDEAS.map((idea) => element("li", {},
    element("button", { type: "button", onclick: () => settings.model && ask(idea) }, idea))));
  listen();
  show();
  scrollDown(true);
  if (talk.last?.role === "assistant" && canGoOn(talk.last)) say("A reply was cut. You can have it continued.");
  findModels();
}

start();

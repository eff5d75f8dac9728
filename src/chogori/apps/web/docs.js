/** The documentation: its contents, this server's own address in the programs, and every call. */

import { element } from "./elements.js";

const WRITTEN = "http://127.0.0.1:8000";

function drawContents() {
  const headings = [...document.querySelectorAll("main h2[id]")];
  document.getElementById("contents").append(...headings.map((heading) =>
    element("li", {}, element("a", { href: `#${heading.id}` }, heading.textContent))));
}

function prepare(figure) {
  const code = figure.querySelector("pre code");
  code.textContent = code.textContent.replaceAll(WRITTEN, location.origin);
  const button = element("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  figure.append(button);
}

async function drawCalls() {
  const list = document.getElementById("calls-list");
  try {
    const document_ = await (await fetch("/openapi.json")).json();
    for (const [path, methods] of Object.entries(document_.paths)) {
      for (const [method, call] of Object.entries(methods)) {
        if (call.responses) list.append(drawCall(document_, path, method, call));
      }
    }
  } catch (error) {
    list.append(element("p", { class: "wrong", role: "alert" }, `The document cannot be read: ${error.message}`));
  }
}

function drawCall(document_, path, method, call) {
  const inside = element("div", {});
  if (call.description) inside.append(element("p", {}, call.description));
  const body = call.requestBody?.content?.["application/json"]?.schema;
  const fields = [
    ...(call.parameters ?? []).map((one) => [one.name, one.in, one.description ?? ""]),
    ...fieldsOf(document_, body),
  ];
  if (fields.length) inside.append(table(["Field", "Kind", ""], fields));
  const answers = Object.entries(call.responses).map(([status, answer]) =>
    [status, resolve(document_, answer).description ?? ""]);
  inside.append(table(["Status", ""], answers));
  return element("details", { class: "call" },
    element("summary", {}, element("b", {}, method.toUpperCase()), element("code", {}, path), call.summary ?? ""), inside);
}

function resolve(document_, value) {
  const path = value?.$ref?.split("/").slice(1) ?? null;
  return path ? path.reduce((inside, name) => inside?.[name], document_) ?? {} : value ?? {};
}

function fieldsOf(document_, schema) {
  const whole = resolve(document_, schema);
  const needed = new Set(whole.required ?? []);
  return Object.entries(whole.properties ?? {}).map(([name, given]) => {
    const field = resolve(document_, given);
    return [name, `${kindOf(document_, field)}${needed.has(name) ? ", needed" : ""}`, given.description ?? field.description ?? ""];
  });
}

function kindOf(document_, field) {
  const among = field.anyOf ?? field.oneOf;
  if (among) return [...new Set(among.map((one) => kindOf(document_, resolve(document_, one))))].join(" or ");
  if (field.enum) return field.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (field.const !== undefined) return JSON.stringify(field.const);
  return [field.type ?? "any"].flat().join(" or ");
}

function table(heads, rows) {
  return element("table", {},
    element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", {}, head)))),
    element("tbody", {}, ...rows.map(([first, ...rest]) =>
      element("tr", {}, element("td", {}, element("code", {}, first)), ...rest.map((text) => element("td", {}, text))))));
}

document.querySelectorAll("figure").forEach(prepare);
drawContents();
drawCalls();

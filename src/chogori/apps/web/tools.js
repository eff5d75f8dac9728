/** The tools that this page runs itself. All others are carried out by whoever sits before it. */

export const SPECS = [
  {
    type: "function",
    function: {
      name: "clock",
      description: "Tell the date, the time and the time zone of the user.",
      parameters: { type: "object", properties: {}, additionalProperties: false },
    },
  },
  {
    type: "function",
    function: {
      name: "calculate",
      description: "Compute an arithmetic expression with + - * / ^ and parentheses.",
      parameters: {
        type: "object",
        properties: { expression: { type: "string", description: "Such as (3 + 4) * 2^10." } },
        required: ["expression"],
        additionalProperties: false,
      },
    },
  },
];

const TOOLS = {
  clock: () => new Date().toString(),
  calculate: ({ expression }) => String(calculate(String(expression ?? ""))),
};

/** What a call returns, as text; null where this page has no such tool. */
export function run(call, isOn) {
  if (!isOn || !Object.hasOwn(TOOLS, call.name)) return null;
  try {
    return TOOLS[call.name](JSON.parse(call.arguments || "{}") ?? {});
  } catch (error) {
    return `error: ${error.message}`;
  }
}

/** The value of an arithmetic expression. Throws a sentence where it is none. */
export function calculate(text) {
  const tokens = text.match(/(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|\*\*|\S/gi) ?? [];
  let at = 0;
  const take = (...wanted) => (wanted.includes(tokens[at]) ? tokens[at++] : null);

  function sum() {
    let value = product();
    for (let sign; (sign = take("+", "-", "−")); ) value += sign === "+" ? product() : -product();
    return value;
  }
  function product() {
    let value = signed();
    for (let sign; (sign = take("*", "×", "/", "÷")); ) {
      value = sign === "*" || sign === "×" ? value * signed() : value / signed();
    }
    return value;
  }
  function signed() {
    if (take("-", "−")) return -signed();
    if (take("+")) return signed();
    return power();
  }
  function power() {
    const value = atom();
    return take("^", "**") ? value ** signed() : value;
  }
  function atom() {
    if (take("(")) {
      const value = sum();
      if (!take(")")) throw new Error("a parenthesis is not closed");
      return value;
    }
    const token = tokens[at++];
    if (token === undefined) throw new Error("the expression ends too early");
    if (!/^[\d.]/.test(token) || Number.isNaN(Number(token))) throw new Error(`${token} is no number`);
    return Number(token);
  }

  const value = sum();
  if (at < tokens.length) throw new Error(`${tokens[at]} is not expected here`);
  return value;
}

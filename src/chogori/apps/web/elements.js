/** Makes elements. Text goes in as text: nothing that a model wrote is ever read as HTML. */

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Change a text only if it differs, so that what is selected stays so. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

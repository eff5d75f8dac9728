/**
 * The Markdown that models write, as elements: headings, lists, quotes, tables, fenced code,
 * emphasis, code and links. What it does not know stays text.
 *
 * A text that grows is drawn block by block, and only the blocks that changed are drawn again.
 */

import { element } from "./elements.js";

const FENCE = /^ {0,3}(```+|~~~+)\s*([\w+#.-]*)/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const drawn = new WeakMap();

/** Show `text` in `target`. */
export function showMarkdown(target, text) {
  const before = drawn.get(target) ?? [];
  const blocks = blocksOf(text);
  let same = 0;
  while (same < blocks.length && before[same] === blocks[same]) same += 1;
  while (target.children.length > same) target.lastElementChild.remove();
  for (const block of blocks.slice(same)) target.append(draw(block));
  drawn.set(target, blocks);
}

/** The source of each block: what stands between blank lines, but a fence is whole. */
export function blocksOf(text) {
  const blocks = [];
  let lines = [];
  let fence = null;
  const end = () => {
    if (lines.length) blocks.push(lines.join("\n"));
    lines = [];
  };
  for (const line of text.split("\n")) {
    if (fence) {
      lines.push(line);
      if (line.trim().startsWith(fence) && line.trim().replaceAll(fence[0], "") === "") {
        fence = null;
        end();
      }
    } else if (FENCE.test(line)) {
      end();
      fence = FENCE.exec(line)[1];
      lines.push(line);
    } else if (line.trim() === "") {
      end();
    } else {
      const isHeading = /^#{1,6}\s/.test(line);
      if (isHeading) end();
      lines.push(line);
      if (isHeading) end();
    }
  }
  end();
  return blocks;
}

function draw(block) {
  const lines = block.split("\n");
  const fence = FENCE.exec(lines[0]);
  if (fence) {
    const closed = lines.length > 1 && lines.at(-1).trim().startsWith(fence[1]);
    const code = lines.slice(1, closed ? -1 : undefined).join("\n");
    return element("pre", { tabindex: 0, "data-language": fence[2] || null }, element("code", {}, code));
  }
  const heading = /^(#{1,6})\s+(.*?)\s*#*$/.exec(lines[0]);
  if (heading) return element(`h${Math.min(heading[1].length + 2, 6)}`, {}, ...inline(heading[2]));
  if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(block)) return element("hr");
  if (lines.every((line) => /^\s*>/.test(line))) {
    const inner = blocksOf(lines.map((line) => line.replace(/^\s*> ?/, "")).join("\n"));
    return element("blockquote", {}, ...inner.map(draw));
  }
  if (ITEM.test(lines[0])) return list(lines);
  if (lines.length > 1 && lines[0].includes("|") && /^[\s|:-]+$/.test(lines[1]) && lines[1].includes("-")) {
    return table(lines);
  }
  // A list may follow its first line without a blank line between.
  const first = lines.findIndex((line) => ITEM.test(line));
  if (first > 0) {
    return element("div", {}, paragraph(lines.slice(0, first)), list(lines.slice(first)));
  }
  return paragraph(lines);
}

function paragraph(lines) {
  return element("p", {}, ...inline(lines.join("\n")));
}

/** A list with the lists in it, by indentation. */
function list(lines) {
  const [, indent, mark] = ITEM.exec(lines[0]);
  const isOrdered = /\d/.test(mark);
  const made = element(isOrdered ? "ol" : "ul", isOrdered ? { start: parseInt(mark, 10) } : {});
  let own = [];
  let inner = [];
  const end = () => {
    if (own.length) made.append(element("li", {}, ...inline(own.join("\n")), inner.length ? list(inner) : null));
    own = [];
    inner = [];
  };
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (item && item[1].length <= indent.length) {
      end();
      own.push(item[3]);
    } else if (item || inner.length) {
      inner.push(line);
    } else {
      own.push(line.trim());
    }
  }
  end();
  return made;
}

function table(lines) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  const row = (line, name) => element("tr", {}, ...cells(line).map((cell) => element(name, {}, ...inline(cell))));
  return element("table", {},
    element("thead", {}, row(lines[0], "th")),
    element("tbody", {}, ...lines.slice(2).map((line) => row(line, "td"))));
}

const INLINE = /(`+)(.+?)\1(?!`)|\*\*(?=\S)(.+?)\*\*|(?<![\w*])\*(?=[^\s*])(.+?)\*(?![\w*])|(?<!\w)_(?=\S)([^_]+?)_(?!\w)|\[([^\]\n]+)\]\((https?:\/\/[^\s)]+)\)|(https?:\/\/[^\s<>)\]]*[^\s<>)\].,;:!?'"])/s;

/** Text with emphasis, code and links, as nodes. */
function inline(text) {
  const nodes = [];
  for (let rest = text; rest; ) {
    const found = INLINE.exec(rest);
    if (!found) {
      nodes.push(rest);
      break;
    }
    if (found.index) nodes.push(rest.slice(0, found.index));
    nodes.push(drawInline(found));
    rest = rest.slice(found.index + found[0].length);
  }
  return nodes;
}

function drawInline([, , code, strong, emphasis, underlined, label, address, bare]) {
  if (code !== undefined) return element("code", {}, code.trim() || code);
  if (strong !== undefined) return element("strong", {}, ...inline(strong));
  if (emphasis !== undefined) return element("em", {}, ...inline(emphasis));
  if (underlined !== undefined) return element("em", {}, ...inline(underlined));
  const link = { href: address ?? bare, rel: "noreferrer noopener", target: "_blank" };
  return element("a", link, label ?? bare);
}

// A model's words -> nodes that can be shown. Whatever the words are, they can't run, fetch or style anything:
// HTML in them is shown as it is spelled, what Markdown makes is purified, and KaTeX trusts no command.
import DOMPurify from "dompurify";
import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import cpp from "highlight.js/lib/languages/cpp";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import xml from "highlight.js/lib/languages/xml";
import katex from "katex";
import "katex/dist/katex.min.css";
import { Marked, type TokenizerAndRendererExtension } from "marked";
import { copyButton } from "./dom";

for (const [name, language] of Object.entries({ bash, cpp, javascript, json, python, xml })) {
  hljs.registerLanguage(name, language);
}

const escape = (text: string): string =>
  text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

/** Math between dollars or TeX's brackets, kept as text for KaTeX. */
function mathRule(level: "block" | "inline", rule: RegExp, start: RegExp): TokenizerAndRendererExtension {
  const name = `${level}-math`;
  return {
    name,
    level,
    start: (text) => text.match(start)?.index,
    tokenizer(text) {
      const found = rule.exec(text);
      if (!found) return undefined;
      const formula = found.slice(1).find((group) => group !== undefined) ?? "";
      const display = /^(\$\$|\\\[)/.test(found[0]);
      return { type: name, raw: found[0], formula, display };
    },
    renderer: (token) => `<span class="math${token.display ? " display" : ""}">${escape(String(token.formula))}</span>`,
  };
}

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => escape(text),
    image: ({ href, text }) => escape(`[image: ${text || "without a name"}, ${href}]`),
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    code: ({ text, lang }) => {
      const language = (lang ?? "").trim().split(/\s/)[0] ?? "";
      const known = hljs.getLanguage(language);
      const shown = known ? hljs.highlight(text, { language }).value : escape(text);
      return `<pre title="${escape(language)}"><code>${shown}</code></pre>`;
    },
  },
  extensions: [
    mathRule("block", /^(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])[ \t]*(?:\n|$)/, /\$\$|\\\[/),
    mathRule(
      "inline",
      /^(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\]|\\\(([\s\S]+?)\\\)|\$(?!\s)((?:\\.|[^$\\\n])+?)(?<!\s)\$(?!\d))/,
      /\$|\\\(|\\\[/,
    ),
  ],
});

const ALLOWED = {
  ALLOWED_TAGS: (
    "p br hr h1 h2 h3 h4 h5 h6 strong em del code pre blockquote ul ol li table thead tbody tr th td a span"
  ).split(" "),
  ALLOWED_ATTR: ["href", "class", "title", "start", "align"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  RETURN_DOM_FRAGMENT: true as const,
};

/** Put a formula in place of its source; one that is none stays as it is spelled. */
function typeset(holder: HTMLElement): void {
  const formula = holder.textContent ?? "";
  const displayMode = holder.classList.contains("display");
  try {
    katex.render(formula, holder, { displayMode, trust: false, strict: "ignore", maxSize: 20, maxExpand: 300 });
  } catch (error) {
    if (!(error instanceof katex.ParseError)) throw error;
    holder.textContent = formula;
    holder.classList.add("unreadable");
  }
}

/** The nodes of a text in Markdown. */
export function rendered(text: string): DocumentFragment {
  const fragment = DOMPurify.sanitize(marked.parse(text, { async: false }), ALLOWED);
  for (const holder of fragment.querySelectorAll<HTMLElement>("span.math")) {
    typeset(holder);
  }
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  }
  for (const block of fragment.querySelectorAll("pre")) {
    const holder = document.createElement("div");
    holder.className = "code";
    block.tabIndex = 0;
    const language = block.title;
    block.removeAttribute("title");
    block.replaceWith(holder);
    const code = block.textContent ?? "";
    const name = document.createElement("span");
    name.textContent = language;
    holder.append(name, copyButton(() => code, "Copy the code"), block);
  }
  for (const table of fragment.querySelectorAll("table")) {
    const holder = document.createElement("div");
    holder.className = "wide";
    holder.tabIndex = 0;
    table.replaceWith(holder);
    holder.append(table);
  }
  return fragment;
}

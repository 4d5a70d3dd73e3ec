// The list of keys.
import { button, byId, make } from "./dom";

const KEYS: [string, string][] = [
  ["Enter", "ask"],
  ["Shift+Enter", "a new line"],
  ["Esc", "answer now, while it thinks"],
  ["Alt+P", "pause, go on"],
  ["Alt+T", "think on: 64 tokens more"],
  ["Alt+A", "add a fact to its thought"],
  ["Alt+S", "stop"],
  ["Alt+E", "edit the last question, in a branch"],
  ["Alt+R", "the last question again, in a branch"],
  ["Alt+, and Alt+.", "the branch before, the branch after"],
  ["Alt+N", "a new conversation"],
  ["/", "to the question"],
  ["?", "these keys"],
];

export function showKeys(): void {
  const dialog = byId<HTMLDialogElement>("keys");
  const list = make("dl", {}, ...KEYS.flatMap(([keys, what]) => [make("dt", {}, make("kbd", {}, keys)), make("dd", {}, what)]));
  dialog.replaceChildren(make("h2", { id: "keys-title" }, "Keys"), list, button("Close", () => dialog.close(), { class: "main" }));
  dialog.showModal();
}

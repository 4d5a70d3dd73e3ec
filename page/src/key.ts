// The dialog that asks for the server's key.
import { setKey } from "./api";
import { button, byId, make } from "./dom";

/** Ask for it, keep it, go on. */
export function askKey(then: () => void): void {
  const dialog = byId<HTMLDialogElement>("key");
  const input = make("input", { type: "password", id: "key-field", autocomplete: "off", required: true });
  const form = make("form", { method: "dialog" }, make("h2", { id: "key-title" }, "The server wants a key"),
    make("p", {}, "It is one of those that the server was started with. It is kept until this tab is closed."),
    make("label", { for: "key-field" }, "Key"), input,
    make("div", { class: "row" }, button("Cancel", () => dialog.close(), { class: "quiet" }), make("button", { class: "main" }, "Use it")));
  form.addEventListener("submit", () => (setKey(input.value), then()));
  dialog.replaceChildren(form);
  if (!dialog.open) dialog.showModal();
}

// The chat page put together: which conversation is shown, what keys and buttons do.
import { Fault, models, type Action, type Model } from "./api";
import { asMenu, button, byId, download, make } from "./dom";
import { asJson, asMarkdown, fileName } from "./exporting";
import { askKey } from "./key";
import { showKeys } from "./keys";
import { Reply } from "./reply";
import { settings, settingsRow } from "./settings";
import { conversations, forget, forgetAll, keep } from "./store";
import { branch, freshConversation, path, turnTo, type Conversation, type Turn } from "./tree";
import { themeSwitch } from "./theme";
import { TurnView, type TurnActions } from "./turn";
import "./style.css";
import "./chat.css";

const main = byId("talk");
const field = byId<HTMLTextAreaElement>("question");
const steer = byId("steer");
const chooser = byId<HTMLSelectElement>("model");
let offered: Model[] = [];
let talk: Conversation = freshConversation();
let views: TurnView[] = [];
let reply: Reply | null = null;
let waiting = 0;

// --- what is shown ---

const model = (): Model | undefined => offered.find((one) => one.id === chooser.value);
const single = (): boolean => model()?.turns === 1;
const say = (words: string): void => void (byId("said").textContent = words);

function draw(): void {
  const turns = path(talk);
  views = turns.map((turn) => new TurnView(talk, turn, actions));
  main.replaceChildren(...(turns.length ? views.map((view) => view.element) : [welcome()]));
  byId("export").hidden = turns.length === 0;
  document.title = talk.title ? `${talk.title} · thinkaloud` : "thinkaloud";
  drawList();
  drawReply();
}

function welcome(): HTMLElement {
  const families = model()?.families ?? [];
  const examples = families.map((family) =>
    button("", () => send(family.example), { class: "example" }));
  examples.forEach((one, place) => one.append(make("b", {}, families[place]!.name), make("span", {}, families[place]!.example)));
  return make("div", { class: "welcome" },
    make("h1", {}, "What shall we think about?"),
    make("p", {}, "The model thinks aloud before it answers. You can watch, pause, add a fact, or have the answer now."),
    single() && make("p", { class: "note" }, "This model was taught single questions: each one is asked alone, without what came before it."),
    model()?.instruction && make("p", { class: "note" }, `It was trained to find these words behind a question, and is asked with them: ${model()!.instruction}`),
    examples.length > 0 && make("h2", {}, "What it was taught"),
    make("div", { class: "examples" }, ...examples));
}

function drawList(): void {
  byId("conversations").replaceChildren(...conversations().map((one) => make("li", { class: one.id === talk.id ? "shown" : "" },
    button(one.title || "Untitled", () => open(one), { class: "open", "aria-current": one.id === talk.id ? "true" : null }),
    button("×", () => remove(one), { class: "icon", "aria-label": `Delete “${one.title}”`, title: "Delete" }))));
  byId("forget-all").hidden = conversations().length === 0;
}

/** The reply under way, at most once a frame. */
function soon(): void {
  waiting ||= requestAnimationFrame(() => {
    waiting = 0;
    const follows = main.scrollHeight - main.scrollTop - main.clientHeight < 80;
    drawReply();
    if (follows) main.scrollTop = main.scrollHeight;
  });
}

function drawReply(): void {
  const shown = reply && views.find((view) => view.turn === reply?.turn);
  if (shown) shown.update(true, reply!.paused);
  const steered = Boolean(shown && reply?.thinking && reply.id);
  if (steer.hidden === steered) {
    const inside = steer.contains(document.activeElement);
    steer.hidden = !steered;
    if (inside && !steered) field.focus();
  }
  pause.textContent = reply?.paused ? "Go on" : "Pause";
  go.hidden = Boolean(reply);
  stop.hidden = !reply;
}

// --- what can be done ---

function send(question: string, parent: string | null = path(talk).at(-1)?.id ?? null): void {
  if (reply || !question.trim()) return;
  if (!model()) return void load();
  const turn = branch(talk, parent, question.trim(), settings, chooser.value);
  draw();
  main.scrollTop = main.scrollHeight;
  void answer(turn);
}

async function answer(turn: Turn): Promise<void> {
  const mine = (reply = new Reply(talk, turn));
  onwards.textContent = "Think on";
  const whole = talk;
  const clock = setInterval(() => (mine.tick(), soon()), 100);
  keep(whole);
  draw();
  say("It thinks.");
  main.scrollTop = main.scrollHeight;
  try {
    await mine.run(single(), model()?.instruction ?? "", soon);
  } finally {
    clearInterval(clock);
    reply = null;
    whole.changed = Date.now();
    if (conversations().some((one) => one.id === whole.id) && !keep(whole)) turn.fault ||= "This conversation is too long to be kept in the browser: export it, or start a new one.";
    const follows = main.scrollHeight - main.scrollTop - main.clientHeight < 80;
    views.find((view) => view.turn === turn)?.update(false);
    drawReply();
    drawList();
    if (follows) main.scrollTop = main.scrollHeight;
    say(turn.fault ? "" : `Answer: ${turn.samples[turn.chosen]?.answer ?? "none"}`);
    if (mine.status === 401) askKey(() => void answer(turn));
  }
}

const actions: TurnActions = {
  again: (turn) => send(turn.question, turn.parent),
  retry: (turn) => void (reply || answer(turn)),
  edited: (turn, question) => send(question, turn.parent),
  turn: (turn, step) => {
    if (!turnTo(talk, turn, step)) return;
    keep(talk);
    draw();
    const other = views[path(talk).findIndex((one) => one.parent === turn.parent)];
    other?.element.querySelector<HTMLElement>(`[data-tool="${step < 0 ? "before" : "after"}"]:enabled, [data-tool="edit"]`)?.focus();
  },
  answerNow: (_, index) => act("answer_now", { index }),
  choose: (turn, index) => {
    turn.chosen = index;
    keep(talk);
    views.find((view) => view.turn === turn)?.update(false);
  },
};

function act(action: Action, more: { index?: number; text?: string; tokens?: number } = {}): void {
  const mine = reply;
  mine?.steer(action, more).then((done) => {
    if (action === "think_on" && !done && mine === reply) onwards.textContent = "No room to think on";
    soon();
  }, (error: unknown) => {
    if (!(error instanceof Fault)) throw error;
    mine.turn.fault = error.message;
    soon();
  });
}

function open(one: Conversation): void {
  talk = reply?.talk.id === one.id ? reply.talk : one;
  for (const turn of talk.turns) for (const sample of turn.samples) if (turn !== reply?.turn) sample.finish ||= "cancelled";
  menu(false);
  draw();
  main.scrollTop = main.scrollHeight;
}

function fresh(): void {
  open(freshConversation());
  field.focus();
}

function remove(one: Conversation): void {
  if (reply?.talk.id === one.id) reply.stop();
  forget(one.id);
  if (one.id === talk.id) fresh();
  else drawList();
}

function menu(shown: boolean): void {
  document.body.classList.toggle("menu", shown);
  byId("menu").setAttribute("aria-expanded", String(shown));
}

async function load(): Promise<void> {
  try {
    offered = await models();
    const before = chooser.value;
    chooser.replaceChildren(...offered.map((one) => make("option", { value: one.id, selected: one.id === before }, one.id)));
    draw();
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    if (error.status === 401) askKey(() => void load());
    main.replaceChildren(make("div", { class: "fault", role: "alert" }, make("p", {}, error.message), button("Try again", () => void load())));
  }
}

// --- keys and buttons ---

const go = make("button", { type: "submit", class: "main", title: "Enter" }, "Ask");
const stop = button("Stop", () => reply?.stop(), { class: "main stop", title: "Alt+S", hidden: true });
const pause = button("Pause", () => act(reply?.paused ? "resume" : "pause"), { title: "Alt+P" });
const onwards = button("Think on", () => act("think_on", { tokens: 64 }), { title: "64 tokens more, where the most tokens leave room (Alt+T)" });
const fact = make("input", { type: "text", "aria-label": "A fact to add to its thought", placeholder: "Add a fact", title: "Alt+A", autocomplete: "off" });

function addFact(): void {
  if (fact.value.trim()) act("add", { text: fact.value.trim() });
  fact.value = "";
}

function fit(): void {
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight, 220)}px`;
}

const ALT: Record<string, () => void> = {
  KeyN: fresh,
  KeyS: () => reply?.stop(),
  KeyP: () => pause.click(),
  KeyT: () => act("think_on", { tokens: 64 }),
  KeyA: () => fact.focus(),
  KeyE: () => reply || views.at(-1)?.edit(),
  KeyR: () => reply || (views.length && actions.again(views.at(-1)!.turn)),
  Comma: () => views.length && actions.turn(views.at(-1)!.turn, -1),
  Period: () => views.length && actions.turn(views.at(-1)!.turn, 1),
};

function pressed(event: KeyboardEvent): void {
  const typing = (event.target as HTMLElement).matches("input:not([type=radio],[type=checkbox]), textarea, select");
  const action = event.altKey && !event.ctrlKey && !event.metaKey ? ALT[event.code] : undefined;
  if (document.querySelector("dialog[open]") || event.isComposing) return;
  if (event.key === "Escape" && document.body.classList.contains("menu")) menu(false);
  else if (event.key === "Escape" && reply?.thinking) act("answer_now");
  else if (event.key === "?" && !typing) showKeys();
  else if (event.key === "/" && !typing) field.focus();
  else if (action) action();
  else return;
  event.preventDefault();
}

function begin(): void {
  settingsRow();
  byId("send").append(stop, go);
  document.querySelectorAll<HTMLDetailsElement>(".menu-fold").forEach(asMenu);
  steer.append(
    button("Answer now", () => act("answer_now"), { class: "main", title: "Esc" }), pause,
    onwards,
    make("span", { class: "fact" }, fact, button("Add", addFact)));
  fact.addEventListener("keydown", (event) => {
    if (event.key === "Enter") (event.preventDefault(), addFact());
  });
  field.addEventListener("input", fit);
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    byId<HTMLFormElement>("ask").requestSubmit(go);
  });
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    if (reply || !field.value.trim()) return;
    send(field.value);
    field.value = "";
    fit();
  });
  byId("new").addEventListener("click", fresh);
  byId("help").addEventListener("click", showKeys);
  byId("menu").addEventListener("click", () => menu(!document.body.classList.contains("menu")));
  byId("veil").addEventListener("click", () => menu(false));
  byId("forget-all").addEventListener("click", () => {
    if (!confirm("Delete all conversations that are kept in this browser?")) return;
    reply?.stop();
    forgetAll();
    fresh();
  });
  byId("export-markdown").addEventListener("click", () => download(`${fileName(talk)}.md`, asMarkdown(talk), "text/markdown"));
  byId("export-json").addEventListener("click", () => download(`${fileName(talk)}.json`, asJson(talk), "application/json"));
  chooser.addEventListener("change", () => path(talk).length || draw());
  document.addEventListener("keydown", pressed);
  addEventListener("pagehide", () => reply && keep(reply.talk));
  themeSwitch();
  draw();
  void load();
  field.focus();
}

begin();

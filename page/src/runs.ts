// The page of training runs: which there are, their curves as they grow, their replies, and before beside after.
import { Fault } from "./api";
import { chart, short } from "./curves";
import { button, byId, make } from "./dom";
import { askKey } from "./key";
import { comparison, replies } from "./replies";
import { runs, run, type Overview, type Run } from "./runs-api";
import { themeSwitch } from "./theme";
import "./style.css";
import "./runs.css";

const LIST_SECONDS = 5;
const RUN_SECONDS = 3;
const MOST_CURVES = 8;

const view = byId("view");
let timer = 0;

const percent = (share: number | null | undefined): string => (typeof share === "number" ? `${(100 * share).toFixed(1)} %` : "");
const count = (value: number | null | undefined): string => (typeof value === "number" ? value.toLocaleString("en") : "");

function since(stamp: number): string {
  const minutes = (Date.now() / 1000 - stamp) / 60;
  if (minutes < 2) return "just now";
  if (minutes < 120) return `${Math.round(minutes)} minutes ago`;
  return minutes < 2880 ? `${Math.round(minutes / 60)} hours ago` : new Date(stamp * 1000).toLocaleDateString();
}

function state(one: Overview): HTMLElement {
  const [look, word] = one.finished ? ["done", "finished"] : one.live ? ["live", "goes on"] : ["halted", "stopped"];
  return make("span", { class: `state ${look}` }, word);
}

const bar = (share: number, name: string): HTMLElement => make("progress", { max: 1, value: share, "aria-label": name });

// --- the list ---

async function showList(): Promise<void> {
  const found = await runs();
  const rows = found.map((one) => {
    const progress = one.stages.reduce((sum, stage) => sum + stage.progress, 0) / Math.max(1, one.stages.length);
    return make("li", {}, make("a", { href: `#${encodeURIComponent(one.name)}` },
      make("b", {}, one.name), state(one), make("span", { class: "gap" }),
      make("span", { class: "muted" }, `${one.stages.length} stages, ${since(one.changed)}`), bar(one.finished ? 1 : progress, "progress")));
  });
  document.title = "Training runs · thinkaloud";
  fill(make("h1", {}, "Training runs"),
    rows.length ? make("ul", { class: "list" }, ...rows)
      : make("p", { class: "muted" }, "There is none yet. ", make("code", {}, "thinkaloud train recipes/smoke.toml"), " makes one in a minute; it appears here while it trains."));
}

// --- one run ---

class RunView {
  private readonly head = make("div", { class: "run-head" });
  private readonly stages = make("div", { class: "card wide" });
  private readonly chips = make("div", { class: "chips", role: "group", "aria-label": "Stages that are drawn" });
  private readonly charts = make("div", { class: "charts" });
  private readonly below = make("div", {});
  private readonly search = make("input", { type: "search", placeholder: "Stages with …", "aria-label": "Draw stages whose name holds this" });
  private chosen: Set<string> | null = null;
  private latest: Run | null = null;

  constructor(private readonly name: string) {
    this.search.addEventListener("input", () => {
      this.chosen = null;
      this.drawCurves();
    });
    fill(this.head, this.stages, make("h2", {}, "Curves"), this.chips, this.charts, this.below);
  }

  async refresh(): Promise<boolean> {
    const latest = await run(this.name);
    const before = this.latest;
    this.latest = latest;
    document.title = `${this.name} · thinkaloud`;
    this.head.replaceChildren(make("h1", {}, this.name), state(latest), make("span", { class: "muted" }, since(latest.changed)));
    this.drawStages();
    this.drawCurves();
    const models = latest.results.map((one) => one.model).join();
    const sampled = latest.stages.filter((stage) => stage.rollouts).map((stage) => stage.name);
    const known = before?.stages.filter((stage) => stage.rollouts).map((stage) => stage.name);
    if (!before || sampled.join() !== known?.join() || models !== before.results.map((one) => one.model).join()) {
      this.below.replaceChildren(replies(this.name, sampled), comparison(this.name));
    }
    return latest.live;
  }

  private drawStages(): void {
    const { stages, results } = this.latest!;
    const measured = new Map(results.map((one) => [one.model, one]));
    const names = [...new Set([...stages.map((stage) => stage.name), ...measured.keys()])];
    const rows = names.map((name) => {
      const stage = stages.find((one) => one.name === name);
      const result = measured.get(name);
      const cells = [stage?.kind ?? "", count(stage?.step), count(stage?.rollouts || null), percent(stage?.dev_accuracy),
        percent(result?.accuracy), result?.thinking_tokens == null ? "" : short(result.thinking_tokens)];
      return make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, bar(stage?.progress ?? 0, `progress of ${name}`)),
        ...cells.map((cell, place) => make("td", { class: place ? "number" : "" }, cell)));
    });
    const heads = ["Stage", "", "Kind", "Steps", "Rollouts", "Dev", "Sealed test", "Thought tokens"];
    this.stages.replaceChildren(make("table", {},
      make("thead", {}, make("tr", {}, ...heads.map((head, place) => make("th", { scope: "col", class: place > 2 ? "number" : "" }, head)))),
      make("tbody", {}, ...rows)));
  }

  private drawCurves(): void {
    const { curves } = this.latest!;
    const all = this.latest!.stages.map((stage) => stage.name).filter((name) => Object.values(curves).some((curve) => curve.stages[name]));
    const wanted = all.filter((name) => name.includes(this.search.value));
    const shown = wanted.filter((name, place) => (this.chosen ? this.chosen.has(name) : place < MOST_CURVES)).slice(0, MOST_CURVES);
    const colours = new Map(shown.map((name) => [name, `colour-${wanted.indexOf(name) % MOST_CURVES}`]));
    const held = (document.activeElement as HTMLElement | null)?.dataset.stage;
    this.chips.replaceChildren(...wanted.slice(0, 40).map((name) => button(name, () => {
      this.chosen = new Set(shown.includes(name) ? shown.filter((one) => one !== name) : [...shown, name].slice(-MOST_CURVES));
      this.drawCurves();
    }, { class: `chip ${colours.get(name) ?? ""}`, "aria-pressed": String(shown.includes(name)), "data-stage": name })));
    if (all.length > MOST_CURVES) {
      if (this.search.isConnected) this.chips.prepend(this.search);
      else this.chips.before(this.search);
    }
    if (held) this.chips.querySelector<HTMLElement>(`[data-stage="${CSS.escape(held)}"]`)?.focus();
    this.charts.replaceChildren(...Object.values(curves).map((curve) => chart(curve, colours)));
  }
}

// --- which of both is shown, and again after a while ---

function fill(...children: Node[]): void {
  view.replaceChildren(...children);
}

async function show(): Promise<void> {
  clearTimeout(timer);
  const name = decodeURIComponent(location.hash.slice(1));
  const one = name ? new RunView(name) : null;
  const mine = location.hash;
  const again = async (): Promise<void> => {
    let wait = LIST_SECONDS;
    try {
      if (!one) await showList();
      else if (await one.refresh()) wait = RUN_SECONDS;
      else return;
    } catch (error) {
      if (error instanceof Fault && error.status === 401) askKey(() => void show());
      fill(make("div", { class: "fault", role: "alert" }, make("p", {}, error instanceof Error ? error.message : String(error)),
        button("Try again", () => void show())));
      return;
    }
    if (mine === location.hash) timer = window.setTimeout(() => void again(), wait * 1000);
  };
  await again();
}

themeSwitch();
addEventListener("hashchange", () => void show());
void show();

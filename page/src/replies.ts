// Replies of a run, page by page: a stage's rollouts by problem, and sealed problems before and after.
import { button, make } from "./dom";
import { compared, rollouts, type Rollout, type Told } from "./runs-api";

const PAGE = 10;

function chooser(label: string, options: string[], changed: () => void, first = ""): HTMLSelectElement {
  const select = make("select", { "aria-label": label, title: label, onchange: changed });
  if (first) select.append(make("option", { value: "" }, first));
  select.append(...options.map((one) => make("option", { value: one }, one)));
  return select;
}

function pager(page: number, total: number, turn: (page: number) => void): HTMLElement {
  const pages = Math.max(1, Math.ceil(total / PAGE));
  return make("div", { class: "pager" },
    button("‹", () => turn(page - 1), { disabled: page === 0, "aria-label": "The page before" }),
    make("span", {}, `${page + 1} of ${pages}, ${total.toLocaleString("en")} problems`),
    button("›", () => turn(page + 1), { disabled: page + 1 >= pages, "aria-label": "The page after" }));
}

const SIGNS = { right: "✓", wrong: "✗", ungradable: "?" } as const;

function told(verdict: keyof typeof SIGNS, thinking: string | null, answer: string | null, note: string): HTMLElement {
  return make("div", { class: `told ${verdict}` },
    make("div", { class: "told-head" }, make("span", { class: `verdict ${verdict}` }, `${SIGNS[verdict]} ${verdict}`), make("small", {}, note)),
    thinking && make("pre", { class: "thought", tabindex: "0" }, thinking),
    make("p", {}, answer || "no answer"));
}

const rollout = (one: Rollout): HTMLElement =>
  told(one.verdict, one.thinking, one.answer, [`step ${one.step}`, one.way, `${one.thinking_tokens} tokens of thought`, one.reason].filter(Boolean).join(" · "));

const sample = (one: Told): HTMLElement =>
  told(one.right ? "right" : "wrong", one.thinking, one.answer, `${one.thinking_tokens ?? 0} tokens of thought`);

/** The rollouts of a run's stages. */
export function replies(name: string, stages: string[]): HTMLElement {
  const list = make("div", { "aria-live": "off" });
  const show = async (page = 0): Promise<void> => {
    const found = await rollouts(name, { stage: stage.value, family: family.value, verdict: verdict.value, problem: problem.value.trim(), page });
    const before = family.value;
    family.replaceChildren(make("option", { value: "" }, "all families"), ...found.families.map((one) => make("option", { value: one, selected: one === before }, one)));
    list.replaceChildren(...found.problems.map((one) => {
      const shown = make("div", { class: "pair" });
      const fold = make("details", { class: "card fold" }, make("summary", {}, make("b", { title: one.problem }, one.question ?? one.problem), make("span", { class: "muted" }, `${one.family}, level ${one.level}`),
        make("span", { class: "gap" }), ...(["right", "wrong", "ungradable"] as const).filter((label) => one.counts[label]).map((label) =>
          make("span", { class: `verdict ${label}` }, `${SIGNS[label]} ${one.counts[label]}`))), shown);
      fold.addEventListener("toggle", () => {
        if (!fold.open || shown.childElementCount) return;
        shown.append(...one.replies.map(rollout));
        if (one.matching > one.replies.length) fold.append(make("p", { class: "muted" }, `The last ${one.replies.length} of ${one.matching}.`));
      });
      return fold;
    }), pager(page, found.total, (next) => void show(next)));
  };
  const again = (): void => void show();
  const stage = chooser("Stage", stages, again);
  const family = chooser("Family", [], again, "all families");
  const verdict = chooser("Verdict", ["right", "wrong", "ungradable"], again, "any verdict");
  const problem = make("input", { type: "search", placeholder: "Problem", "aria-label": "Part of a problem's name", oninput: again });
  stage.value = stages.at(-1) ?? "";
  if (stages.length) void show();
  return make("section", { hidden: !stages.length }, make("h2", {}, "Replies while it learnt"),
    make("div", { class: "filters" }, stage, family, verdict, problem), list);
}

/** The same sealed problems as two models answered them. */
export function comparison(name: string): HTMLElement {
  const section = make("section", { hidden: true });
  const list = make("div", {});
  let chosen: { before: string; after: string } = { before: "", after: "" };
  const show = async (page = 0): Promise<void> => {
    const found = await compared(name, { ...chosen, page });
    section.hidden = found.models.length < 2;
    if (section.hidden) return;
    chosen = { before: found.before ?? "", after: found.after ?? "" };
    const pick = (side: "before" | "after"): HTMLSelectElement => {
      const select = chooser(side, found.models, () => {
        chosen = { ...chosen, [side]: select.value };
        void show();
      });
      select.value = chosen[side];
      return select;
    };
    filters.replaceChildren(pick("before"), make("span", { class: "muted" }, "beside"), pick("after"));
    list.replaceChildren(...found.problems.map((one) => make("article", { class: "card" },
      make("p", { class: "asked" }, one.question, " ", make("small", {}, `${one.family}, level ${one.level}`)),
      make("div", { class: "pair" }, sample(one.before), sample(one.after)))),
    found.problems.length ? pager(page, found.total, (next) => void show(next)) : make("p", { class: "muted" }, "These two share no problems."));
  };
  const filters = make("div", { class: "filters" });
  section.append(make("h2", {}, "Before and after"), make("p", { class: "muted" }, "Sealed problems; those where the verdict changed come first."), filters, list);
  void show();
  return section;
}

// One reply as it is shown: the thought in a fold, the answer below it, the verdict beside it.
import { button, copyButton, make } from "./dom";
import { rendered } from "./markdown";
import type { Sample } from "./tree";

const ENDS: Record<string, string> = {
  budget: "ended by its budget",
  open: "never ended",
  client: "ended by you",
  early: "ended when it was sure",
  loop: "ended when it went round in circles",
};
const FINISHES: Record<string, string> = { length: "It ran out of tokens before its end.", cancelled: "Stopped." };

const seconds = (value: number): string => (value < 60 ? `${value.toFixed(1)} s` : `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`);
const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`;

export const thinks = (sample: Sample): boolean => !sample.finish && !sample.answer;

/** The sign of a verdict; where no check fits, how sure the model may be. */
export function verdict(sample: Sample): HTMLElement | null {
  const judged = typeof sample.verified === "boolean";
  const sure = typeof sample.confidence === "number" && !judged ? `${Math.round(100 * sample.confidence)} % sure` : "";
  const said = judged ? (sample.verified ? "✓ right" : "✗ wrong") : sample.verified === null ? "can't be checked" : "";
  const look = judged ? (sample.verified ? "right" : "wrong") : "";
  if (!said && !sure) return null;
  return make("span", { class: `verdict ${look}` }, said, said && sure && " · ", sure && make("small", {}, sure));
}

/** The live element of a sample; `update` draws what it has become. */
export class SampleView {
  readonly element: HTMLElement;
  private readonly fold: HTMLDetailsElement;
  private readonly state = make("span", { class: "state" });
  private readonly thought = make("div", { class: "thought", tabindex: "0", role: "group", "aria-label": "Thought" });
  private readonly answer = make("div", { class: "answer" });
  private readonly end = make("p", { class: "end" });
  private readonly sign = make("span", { class: "sign" });
  private readonly now: HTMLButtonElement | null;
  private readonly copy: HTMLButtonElement | null;
  private drawn = "";
  private touched = false;

  /** `label`: its number among several, or nothing; those have their own buttons, as far as `answerNow` is given. */
  constructor(private readonly sample: Sample, private readonly label: string, answerNow: (() => void) | null) {
    this.fold = make("details", { class: "thinking" }, make("summary", { onclick: () => (this.touched = true) }, this.state), this.thought);
    this.now = answerNow && button("Answer now", answerNow, { class: "quiet" });
    this.copy = label ? copyButton(() => this.sample.answer, `Copy answer ${label}`) : null;
    const head = make("div", { class: "sample-head" }, label && make("b", {}, label), this.sign, make("span", { class: "gap" }), this.now, this.copy);
    this.element = make("article", { class: "sample", "aria-label": label ? `Reply ${label}` : "Reply" },
      label && head, this.fold, this.answer, this.end, !label && this.sign);
    this.fold.open = thinks(sample);
    this.update();
  }

  /** `paused`: the thought stands still. */
  update(paused = false): void {
    const { sample } = this;
    const thinking = thinks(sample);
    this.element.classList.toggle("live", thinking && !paused);
    this.fold.hidden = !sample.thinking && !thinking;
    if (!this.touched) this.fold.open = thinking;
    const exact = Boolean(sample.finish) && !this.label; // else pieces were counted: a piece may hold several tokens
    const count = `${exact ? "" : "about "}${counted(sample.thinkingTokens, "token")}, ${seconds(sample.seconds)}`;
    const end = ENDS[sample.thoughtEnd];
    this.state.textContent = thinking
      ? `${paused ? "Paused" : "Thinking"} · ${count}`
      : `Thought · ${count}${end ? ` · ${end}` : ""}`;
    if (!sample.thinking.startsWith(this.thought.textContent ?? "")) this.thought.replaceChildren();
    const grown = sample.thinking.slice(this.thought.textContent?.length ?? 0);
    if (grown) {
      const follows = this.thought.scrollHeight - this.thought.scrollTop - this.thought.clientHeight < 40;
      this.thought.append(grown);
      this.thought.normalize();
      if (follows) this.thought.scrollTop = this.thought.scrollHeight;
    }
    if (sample.answer !== this.drawn) {
      this.drawn = sample.answer;
      this.answer.replaceChildren(rendered(sample.answer));
    }
    this.end.textContent = FINISHES[sample.finish] ?? (sample.finish && !sample.answer.trim() ? "It gave no answer." : "");
    this.end.hidden = !this.end.textContent;
    this.sign.replaceChildren(verdict(sample) ?? "");
    if (this.now) this.now.hidden = !thinking;
    if (this.copy) this.copy.hidden = !sample.finish || !sample.answer;
  }
}

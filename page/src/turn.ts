// A turn as it is shown: the question, its replies (several stand side by side, with their vote), and what can be done.
import { button, copyButton, make } from "./dom";
import { SampleView } from "./sample";
import { children, type Conversation, type Turn } from "./tree";
import { votes } from "./votes";

/** What a turn may ask for. */
export interface TurnActions {
  again(turn: Turn): void;
  retry(turn: Turn): void;
  edited(turn: Turn, question: string): void;
  turn(turn: Turn, step: number): void;
  answerNow(turn: Turn, index: number): void;
  choose(turn: Turn, index: number): void;
}

export class TurnView {
  readonly element: HTMLElement;
  private readonly question = make("div", { class: "question" });
  private readonly tally = make("ol", { class: "votes", "aria-label": "Votes" });
  private readonly fault = make("div", { class: "fault", role: "alert" });
  private readonly ledger = make("span", { class: "ledger" });
  private readonly tools = make("div", { class: "tools" });
  private readonly samples: SampleView[];
  private readonly picks: HTMLButtonElement[];

  constructor(private readonly talk: Conversation, readonly turn: Turn, private readonly actions: TurnActions) {
    const several = turn.samples.length > 1;
    this.samples = turn.samples.map(
      (sample, place) => new SampleView(sample, several ? `${place + 1}` : "", several ? () => actions.answerNow(turn, place) : null),
    );
    this.picks = several ? turn.samples.map((_, place) => this.pick(place)) : [];
    this.picks.forEach((pick, place) => this.samples[place]!.element.append(pick));
    this.element = make("section", { class: "turn", "aria-label": "Question and reply" },
      this.question, this.tally,
      make("div", { class: several ? "samples" : "single" }, ...this.samples.map((view) => view.element)),
      this.fault, this.tools);
    this.showQuestion();
    this.update(false);
  }

  private pick(place: number): HTMLButtonElement {
    return button("Go on from this", () => this.actions.choose(this.turn, place), { class: "quiet pick" });
  }

  private showQuestion(): void {
    this.question.replaceChildren(make("p", {}, this.turn.question));
  }

  /** The question becomes a field; sending it makes a branch. */
  edit(): void {
    const field = make("textarea", { "aria-label": "The question, edited", rows: 3 });
    field.value = this.turn.question;
    const close = () => {
      this.showQuestion();
      this.element.querySelector<HTMLElement>('[data-tool="edit"]')?.focus();
    };
    const send = () => field.value.trim() && this.actions.edited(this.turn, field.value.trim());
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.question.replaceChildren(make("div", { class: "editing" }, field,
      make("div", {}, button("Cancel", close, { class: "quiet" }), button("Ask this instead", send, { class: "main" }))));
    field.focus();
    field.select();
  }

  /** Draw what the turn has become; `live`: its reply is under way. */
  update(live: boolean, paused = false): void {
    this.samples.forEach((view) => view.update(paused));
    this.element.setAttribute("aria-busy", String(live));
    this.picks.forEach((pick, place) => {
      const chosen = place === this.turn.chosen;
      pick.hidden = live;
      pick.textContent = chosen ? "Goes on from here" : "Go on from this";
      pick.setAttribute("aria-pressed", String(chosen));
      this.samples[place]!.element.classList.toggle("chosen", chosen && !live);
    });
    this.fault.hidden = !this.turn.fault;
    if (this.turn.fault && this.fault.dataset.shown !== this.turn.fault) {
      this.fault.dataset.shown = this.turn.fault;
      this.fault.replaceChildren(make("p", {}, this.turn.fault), button("Try again", () => this.actions.retry(this.turn)));
    }
    this.drawVotes();
    if (!live) this.drawTools();
    this.tools.hidden = live;
  }

  private drawVotes(): void {
    const groups = this.turn.samples.length > 1 ? votes(this.turn.samples) : [];
    this.tally.hidden = groups.length === 0;
    this.tally.replaceChildren(...groups.map((group) => {
      const count = group.members.length;
      const judged = group.right ? "✓" : group.wrong ? "✗" : "";
      const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("i"));
      (bar.firstChild as HTMLElement).style.width = `${(100 * count) / this.turn.samples.length}%`;
      return make("li", { class: group.right ? "right" : group.wrong ? "wrong" : "" },
        make("span", { class: "said" }, group.answer), bar,
        make("span", { class: "count" }, `${count} of ${this.turn.samples.length}`),
        judged && make("span", { class: "verdict", "aria-label": group.right ? "right" : "wrong" }, judged));
    }));
  }

  private drawTools(): void {
    const { turn, actions } = this;
    const siblings = children(this.talk, turn.parent);
    const place = siblings.indexOf(turn);
    const held = (document.activeElement as HTMLElement | null)?.dataset.tool;
    const inside = this.tools.contains(document.activeElement);
    const tool = (label: string, name: string, press: () => void, more: Record<string, string | boolean> = {}) =>
      button(label, press, { class: "quiet", "data-tool": name, ...more });
    const only = turn.samples.length === 1 && turn.samples[0]!.answer;
    const turns = siblings.length > 1 && make("span", { class: "turns" },
      tool("‹", "before", () => actions.turn(turn, -1), { "aria-label": "The version before", disabled: place === 0 }),
      make("span", { class: "place" }, `${place + 1}/${siblings.length}`),
      tool("›", "after", () => actions.turn(turn, 1), { "aria-label": "The version after", disabled: place === siblings.length - 1 }));
    this.ledger.textContent = this.spent();
    this.tools.replaceChildren(...[turns, only && copyButton(() => only, "Copy the answer"),
      tool("Edit", "edit", () => this.edit(), { title: "Ask it otherwise, in a branch (Alt+E)" }),
      tool("Again", "again", () => actions.again(turn), { title: "Another reply, in a branch (Alt+R)" }),
      make("span", { class: "gap" }), this.ledger].filter((one): one is HTMLElement => Boolean(one)));
    if (inside && held) this.tools.querySelector<HTMLElement>(`[data-tool="${held}"]`)?.focus();
  }

  private spent(): string {
    const { ledger } = this.turn;
    if (!ledger) return "";
    const parts = [`${ledger.reasoning} thought`, `${ledger.answer} answer`];
    if (ledger.forced) parts.push(`${ledger.forced} forced`);
    if (ledger.discarded) parts.push(`${ledger.discarded} discarded`);
    return `${parts.join(" + ")} tokens; prompt ${ledger.prompt}${ledger.cached ? `, ${ledger.cached} cached` : ""}`;
  }
}

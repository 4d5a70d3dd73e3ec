// A reply under way: what arrives goes into its turn, and the reader's wishes go to the server.
import { Fault, ask, control, type Action } from "./api";
import { thinks } from "./sample";
import { freshSample, messages, type Conversation, type Turn } from "./tree";
import { votes } from "./votes";

export class Reply {
  paused = false;
  /** The server's name for it; empty before anything came. */
  id = "";
  status = 0;
  private readonly abort = new AbortController();
  private clock = performance.now();

  constructor(readonly talk: Conversation, readonly turn: Turn) {}

  get thinking(): boolean {
    return this.turn.samples.some(thinks);
  }

  /** Ask and take in what comes, until its end; `changed` is called after each piece. */
  async run(alone: boolean, instruction: string, changed: () => void): Promise<void> {
    const { turn } = this;
    turn.samples.forEach((sample) => Object.assign(sample, freshSample()));
    turn.fault = "";
    this.clock = performance.now();
    try {
      for await (const piece of ask(turn.model, messages(this.talk, turn, alone, instruction), turn.settings, this.abort.signal)) {
        this.id = piece.id;
        this.tick();
        if (piece.ledger) turn.ledger = piece.ledger;
        const sample = piece.index === null ? undefined : turn.samples[piece.index];
        if (sample) {
          if (piece.takenBack && sample.thinking.endsWith(piece.takenBack)) sample.thinking = sample.thinking.slice(0, -piece.takenBack.length);
          sample.thinking += piece.thinking;
          sample.answer += piece.answer;
          sample.thinkingTokens += Number(piece.thinking !== "");
          sample.answerTokens += Number(piece.answer !== "");
          sample.finish ||= piece.finish;
          sample.thoughtEnd ||= piece.thoughtEnd;
          if (piece.verified !== undefined) sample.verified = piece.verified;
          if (piece.confidence !== undefined) sample.confidence = piece.confidence;
        }
        changed();
      }
    } catch (error) {
      if (error instanceof Fault) [turn.fault, this.status] = [error.message, error.status];
      else if (!this.abort.signal.aborted) throw error;
    } finally {
      this.settle();
      changed();
    }
  }

  /** Let the clocks of the thoughts go on. */
  tick(): void {
    const now = performance.now();
    if (!this.paused) for (const sample of this.turn.samples) if (thinks(sample)) sample.seconds += (now - this.clock) / 1000;
    this.clock = now;
  }

  private settle(): void {
    const { turn } = this;
    for (const sample of turn.samples) sample.finish ||= "cancelled";
    const only = turn.samples.length === 1 ? turn.samples[0] : undefined;
    if (only && turn.ledger) only.thinkingTokens = turn.ledger.reasoning;
    const groups = votes(turn.samples);
    const best = groups.find((group) => group.right > 0) ?? groups[0];
    turn.chosen = best?.members[0] ?? 0;
  }

  /** Have the server do something to it; whether that could be had. */
  async steer(action: Action, more: { index?: number; text?: string; tokens?: number } = {}): Promise<boolean> {
    if (!this.id) return false;
    if (action === "pause" || action === "resume") {
      this.tick();
      this.paused = action === "pause";
    }
    if (action === "answer_now") this.paused = false;
    return control(this.id, action, more);
  }

  /** End it here; what has come stays. */
  stop(): void {
    void this.steer("cancel").catch(() => undefined);
    this.abort.abort();
  }
}

// A conversation as a tree of turns: asking again or otherwise makes a sibling, and one path through it is shown.

/** One of the replies to a question. */
export interface Sample {
  thinking: string;
  answer: string;
  /** Tokens of the thought: counted as they come, then as the server says. */
  thinkingTokens: number;
  answerTokens: number;
  /** Seconds of thought. */
  seconds: number;
  /** stop, length or cancelled; empty while it goes on. */
  finish: string;
  /** How the thought ended, in the server's word. */
  thoughtEnd: string;
  /** The verdict, where one was asked for: null is "can't be checked". */
  verified?: boolean | null;
  /** How sure the model is, from 0 to 1. */
  confidence?: number | null;
}

export interface Settings {
  effort: "none" | "low" | "medium" | "high";
  budget: number | null;
  samples: number;
  verify: boolean;
  temperature: number | null;
  seed: number | null;
  maxTokens: number | null;
}

/** The server's count of a turn's tokens. */
export interface Ledger {
  prompt: number;
  cached: number;
  reasoning: number;
  answer: number;
  forced: number;
  discarded: number;
}

/** A question and its replies. */
export interface Turn {
  id: string;
  /** The turn before it, or null. */
  parent: string | null;
  question: string;
  settings: Settings;
  model: string;
  samples: Sample[];
  /** The sample that the conversation goes on from. */
  chosen: number;
  /** What went wrong, in words. */
  fault: string;
  ledger: Ledger | null;
}

export interface Conversation {
  id: string;
  title: string;
  changed: number;
  turns: Turn[];
  /** By parent ("" for none): the turn of its children that is shown. */
  selected: Record<string, string>;
}

let count = 0;
export const freshId = (): string => `${Date.now().toString(36)}-${(count++).toString(36)}-${Math.random().toString(36).slice(2, 7)}`;

export const freshSample = (): Sample => ({
  thinking: "", answer: "", thinkingTokens: 0, answerTokens: 0, seconds: 0, finish: "", thoughtEnd: "",
});

export const freshConversation = (): Conversation => ({ id: freshId(), title: "", changed: Date.now(), turns: [], selected: {} });

export const children = (talk: Conversation, parent: string | null): Turn[] =>
  talk.turns.filter((turn) => turn.parent === parent);

/** The turns that are shown, first to last. */
export function path(talk: Conversation): Turn[] {
  const shown: Turn[] = [];
  for (let parent: string | null = null; ; ) {
    const options = children(talk, parent);
    const turn: Turn | undefined = options.find((one) => one.id === talk.selected[parent ?? ""]) ?? options.at(-1);
    if (!turn) return shown;
    shown.push(turn);
    parent = turn.id;
  }
}

/** Add a turn after `parent`, beside any that are there, and show it. */
export function branch(talk: Conversation, parent: string | null, question: string, settings: Settings, model: string): Turn {
  const turn: Turn = {
    id: freshId(), parent, question, settings: { ...settings }, model,
    samples: Array.from({ length: settings.samples }, freshSample), chosen: 0, fault: "", ledger: null,
  };
  talk.turns.push(turn);
  talk.selected[parent ?? ""] = turn.id;
  talk.title ||= question.replace(/\s+/g, " ").trim().slice(0, 80);
  talk.changed = Date.now();
  return turn;
}

/** Show the sibling `step` places on; false where there is none. */
export function turnTo(talk: Conversation, turn: Turn, step: number): boolean {
  const siblings = children(talk, turn.parent);
  const next = siblings[siblings.indexOf(turn) + step];
  if (next) talk.selected[turn.parent ?? ""] = next.id;
  return Boolean(next);
}

export interface Message {
  role: "user" | "assistant";
  content: string;
}

/** What is sent to have `turn` answered; `alone` leaves out what came before. */
export function messages(talk: Conversation, turn: Turn, alone: boolean, instruction: string): Message[] {
  const sent: Message[] = [{ role: "user", content: turn.question }];
  for (let parent = turn.parent; parent !== null && !alone; ) {
    const before = talk.turns.find((one) => one.id === parent);
    if (!before) break;
    const answer = before.samples[before.chosen]?.answer ?? "";
    if (answer) sent.unshift({ role: "user", content: before.question }, { role: "assistant", content: answer });
    parent = before.parent;
  }
  const first = sent[0]!;
  if (instruction && !first.content.trimEnd().endsWith(instruction)) first.content += `\n\n${instruction}`;
  return sent;
}

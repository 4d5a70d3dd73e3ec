// The server, spoken to as any client of OpenAI's would; its errors in words that say what to do.
import type { Ledger, Message, Settings } from "./tree";

export interface Family {
  name: string;
  example: string;
}

export interface Model {
  id: string;
  families: Family[];
  /** 1 for a model that was taught single questions only. */
  turns: number | null;
  /** What stood behind each question that it was trained on; empty where nothing did. */
  instruction: string;
  context: number | null;
  maxTokens: number | null;
}

/** One thing that came: of the sample `index`, or (without it) of the whole reply. */
export interface Arrived {
  id: string;
  index: number | null;
  thinking: string;
  /** The end of the thought that no longer stands. */
  takenBack: string;
  answer: string;
  finish: string;
  thoughtEnd: string;
  verified?: boolean | null;
  confidence?: number | null;
  ledger: Ledger | null;
}

/** What went wrong, in words for the reader. */
export class Fault extends Error {
  constructor(message: string, readonly status = 0) {
    super(message);
  }
}

export type Action = "answer_now" | "add" | "think_on" | "pause" | "resume" | "cancel";

const KEY = "thinkaloud.key";

/** The key is kept until this tab is closed. */
export const setKey = (key: string): void => sessionStorage.setItem(KEY, key);

export async function call(path: string, body?: object, signal?: AbortSignal): Promise<Response> {
  const key = sessionStorage.getItem(KEY);
  let response: Response;
  try {
    response = await fetch(path, {
      method: body ? "POST" : "GET",
      headers: { ...(body && { "Content-Type": "application/json" }), ...(key && { Authorization: `Bearer ${key}` }) },
      body: body && JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Fault("The server does not answer. See whether `thinkaloud serve` still runs, then try again.");
  }
  if (!response.ok) throw new Fault(await words(response), response.status);
  return response;
}

async function words(response: Response): Promise<string> {
  const said = sentence(reason(await response.json().catch(() => null)));
  const wait = response.headers.get("Retry-After");
  switch (response.status) {
    case 401:
      return `The server wants a key. ${said}`;
    case 404:
      return `${said || "The server does not know this."} Load the page again to see what it offers.`;
    case 429:
    case 503:
      return `The server has its hands full. ${said} Try again in ${wait ? `${wait} seconds` : "a moment"}.`;
    default:
      if (response.status >= 500) return `Something broke in the server. ${said} Its log in the terminal says more.`;
      return said || `The server refused this (${response.status}). Change the question or its settings and send again.`;
  }
}

function reason(body: unknown): string {
  const error = (body as { error?: { message?: unknown } } | null)?.error;
  return typeof error?.message === "string" ? error.message : "";
}

function sentence(text: string): string {
  const tidy = text.trim();
  return tidy && !/[.!?]$/.test(tidy) ? `${tidy[0]!.toUpperCase()}${tidy.slice(1)}.` : tidy;
}

export async function models(): Promise<Model[]> {
  const list = (await (await call("/v1/models")).json()) as { data: { id: string; thinkaloud?: Record<string, unknown> }[] };
  return list.data.map(({ id, thinkaloud: more }) => ({
    id,
    families: Array.isArray(more?.families) ? (more.families as Family[]) : [],
    turns: (more?.turns as number | null | undefined) ?? null,
    instruction: (more?.instruction as string | undefined) ?? "",
    context: (more?.context as number | undefined) ?? null,
    maxTokens: (more?.max_tokens as number | undefined) ?? null,
  }));
}

/** Tell a reply under way what to do, without `index` all its samples; whether that could be had. */
export async function control(id: string, action: Action, more: { index?: number; text?: string; tokens?: number } = {}): Promise<boolean> {
  const said = (await (await call("/v1/chat/completions/control", { id, action, ...more })).json()) as { done: boolean };
  return said.done;
}

/** Ask, and give what arrives as it arrives. */
export async function* ask(model: string, messages: Message[], settings: Settings, signal: AbortSignal): AsyncGenerator<Arrived> {
  const response = await call("/v1/chat/completions", {
    model,
    messages,
    stream: true,
    stream_options: { include_usage: true },
    reasoning_effort: settings.effort,
    n: settings.samples,
    ...(settings.budget !== null && settings.effort !== "none" && { thinking_budget: settings.budget }),
    ...(settings.verify && { verify: true }),
    ...(settings.temperature !== null && { temperature: settings.temperature }),
    ...(settings.maxTokens !== null && { max_tokens: settings.maxTokens }),
    seed: settings.seed ?? Math.floor(Math.random() * 2 ** 31),
  }, signal);
  for await (const data of events(response, signal)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data) as Chunk;
    if (chunk.error) throw new Fault(sentence(reason(chunk)) || "The server broke off the reply. Try again.");
    const whole = { id: chunk.id, thinking: "", takenBack: "", answer: "", finish: "", thoughtEnd: "" };
    for (const choice of chunk.choices ?? []) {
      yield {
        ...whole,
        index: choice.index,
        thinking: choice.delta?.reasoning_content ?? "",
        takenBack: choice.delta?.reasoning_taken_back ?? "",
        answer: choice.delta?.content ?? "",
        finish: choice.finish_reason ?? "",
        thoughtEnd: choice.thought_end ?? "",
        verified: choice.verified,
        confidence: choice.confidence,
        ledger: null,
      };
    }
    if (chunk.usage) yield { ...whole, index: null, ledger: ledger(chunk.usage) };
  }
  throw new Fault("The reply broke off before its end. See whether the server still runs, then try again.");
}

interface Chunk {
  id: string;
  error?: { message?: string };
  choices?: {
    index: number;
    delta?: { reasoning_content?: string | null; reasoning_taken_back?: string | null; content?: string | null };
    finish_reason?: string | null;
    thought_end?: string | null;
    verified?: boolean | null;
    confidence?: number | null;
  }[];
  usage?: Usage | null;
}

interface Usage {
  prompt_tokens?: number;
  completion_tokens?: number;
  prompt_tokens_details?: { cached_tokens?: number } | null;
  completion_tokens_details?: Record<string, number> | null;
}

function ledger(usage: Usage): Ledger {
  const details = usage.completion_tokens_details ?? {};
  const reasoning = details.reasoning_tokens ?? 0;
  return {
    prompt: usage.prompt_tokens ?? 0,
    cached: usage.prompt_tokens_details?.cached_tokens ?? 0,
    reasoning,
    answer: details.answer_tokens ?? Math.max(0, (usage.completion_tokens ?? 0) - reasoning),
    forced: details.forced_tokens ?? 0,
    discarded: (details.discarded_tokens ?? 0) + (details.probe_tokens ?? 0),
  };
}

/** The data of server-sent events. */
async function* events(response: Response, signal: AbortSignal): AsyncGenerator<string> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      waiting += value;
      const blocks = waiting.split(/\r?\n\r?\n/);
      waiting = blocks.pop() ?? "";
      for (const block of blocks) {
        const data = block.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
        if (data.length) yield data.join("\n");
      }
    }
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Fault("The connection to the server was lost. See whether it still runs, then try again.");
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

// What the server says of training runs.
import { Fault, call } from "./api";
import type { Curve } from "./curves";

const NO_RUN = "The server shows no such run. Start it with `thinkaloud serve --runs runs/`, or look at the list of all runs.";

export interface Stage {
  name: string;
  done: boolean;
  progress: number;
  kind: string | null;
  step: number | null;
  seconds: number | null;
  rollouts: number | null;
  dev_accuracy: number | null;
  reward: number | null;
}

export interface Overview {
  name: string;
  finished: boolean;
  live: boolean;
  changed: number;
  stages: Stage[];
}

export interface Run extends Overview {
  curves: Record<string, Curve>;
  results: { model: string; problems: number; accuracy: number | null; thinking_tokens: number | null }[];
}

export interface Rollout {
  step: number;
  thinking: string;
  answer: string;
  verdict: "right" | "wrong" | "ungradable";
  reason: string;
  way: string;
  thinking_tokens: number;
}

export interface RolloutPage {
  problems: { problem: string; question: string | null; family: string; level: number; counts: Record<string, number>; matching: number; replies: Rollout[] }[];
  total: number;
  families: string[];
}

export interface Told {
  thinking: string | null;
  answer: string | null;
  thinking_tokens: number | null;
  reason: string | null;
  right: boolean;
}

export interface Comparison {
  models: string[];
  before: string | null;
  after: string | null;
  total: number;
  problems: { id: string; family: string; level: number; question: string; before: Told; after: Told }[];
}

async function get<Answer>(path: string, query: Record<string, string | number> = {}): Promise<Answer> {
  const asked = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "").map(([key, value]) => [key, String(value)]));
  const response = await call(`/api/runs${path}?${asked}`).catch((error: unknown) => {
    if (error instanceof Fault && error.status === 404) throw new Fault(NO_RUN, 404);
    throw error;
  });
  return (await response.json()) as Answer;
}

const place = (name: string): string => `/${name.split("/").map(encodeURIComponent).join("/")}`;

export const runs = (): Promise<Overview[]> => get("");
export const run = (name: string): Promise<Run> => get(place(name));
export const rollouts = (name: string, query: Record<string, string | number>): Promise<RolloutPage> => get(`${place(name)}/rollouts`, query);
export const compared = (name: string, query: Record<string, string | number>): Promise<Comparison> => get(`${place(name)}/compared`, query);

// Several replies to one question: which of them say the same.
import type { Sample } from "./tree";

export interface Group {
  /** What its members answer, as the first of them words it. */
  answer: string;
  /** Places of its members among the samples. */
  members: number[];
  /** How many were judged right, and how many wrong. */
  right: number;
  wrong: number;
}

/** What an answer comes down to: what it puts in a box, or all of it; case, spaces and a last full stop don't count. */
export function essence(answer: string): string {
  return (boxed(answer) ?? answer).trim().replace(/\s+/g, " ").replace(/\.$/, "").toLowerCase();
}

/** What the last \boxed{} holds. */
function boxed(text: string): string | null {
  const start = text.lastIndexOf("\\boxed{");
  if (start < 0) return null;
  const from = start + "\\boxed{".length;
  for (let place = from, open = 1; place < text.length; place++) {
    if (text[place] === "{") open++;
    if (text[place] === "}" && --open === 0) return text.slice(from, place);
  }
  return null;
}

/** The finished answers in groups of equals, the largest first; a sample without an answer has no vote. */
export function votes(samples: Sample[]): Group[] {
  const groups = new Map<string, Group>();
  samples.forEach((sample, place) => {
    const key = essence(sample.answer);
    if (!key || !sample.finish) return;
    const group = groups.get(key) ?? { answer: boxed(sample.answer) ?? sample.answer.trim(), members: [], right: 0, wrong: 0 };
    group.members.push(place);
    if (sample.verified === true) group.right++;
    if (sample.verified === false) group.wrong++;
    groups.set(key, group);
  });
  return [...groups.values()].sort((one, other) => other.members.length - one.members.length);
}

// Conversations kept in this browser and nowhere else: one entry each, the oldest dropped when it gets too much.
import type { Conversation } from "./tree";

/** The version stands in the key: what an older page kept in another shape is left alone. */
const PREFIX = "thinkaloud.1.conversation.";
const SETTINGS = "thinkaloud.1.settings";
const MOST_CONVERSATIONS = 100;
/** Of the some 5 million characters that browsers grant. */
const MOST_CHARACTERS = 2_000_000;

function entries(): { key: string; size: number; talk: Conversation }[] {
  const found = [];
  for (let place = 0; place < localStorage.length; place++) {
    const key = localStorage.key(place) ?? "";
    const talk = key.startsWith(PREFIX) ? read(key) : null;
    if (talk) found.push({ key, size: (localStorage.getItem(key) ?? "").length, talk });
  }
  return found.sort((one, other) => other.talk.changed - one.talk.changed);
}

function read(key: string): Conversation | null {
  try {
    const talk = JSON.parse(localStorage.getItem(key) ?? "null") as Conversation | null;
    return talk && typeof talk.id === "string" && Array.isArray(talk.turns) && talk.selected ? talk : null;
  } catch {
    return null;
  }
}

/** All conversations, the latest first. */
export const conversations = (): Conversation[] => entries().map((entry) => entry.talk);

/** Keep a conversation; older ones give way. False where even alone it does not fit. */
export function keep(talk: Conversation): boolean {
  const text = JSON.stringify(talk);
  let room = MOST_CHARACTERS - text.length;
  if (room < 0) return false;
  const others = entries().filter((entry) => entry.talk.id !== talk.id);
  others.forEach((entry, place) => {
    room -= entry.size;
    if (room < 0 || place + 1 >= MOST_CONVERSATIONS) localStorage.removeItem(entry.key);
  });
  for (;;) {
    try {
      localStorage.setItem(PREFIX + talk.id, text);
      return true;
    } catch {
      const oldest = entries().filter((entry) => entry.talk.id !== talk.id).at(-1);
      if (!oldest) return false;
      localStorage.removeItem(oldest.key);
    }
  }
}

export const forget = (id: string): void => localStorage.removeItem(PREFIX + id);

export const forgetAll = (): void => entries().forEach((entry) => localStorage.removeItem(entry.key));

export function kept<Value>(): Partial<Value> {
  try {
    return (JSON.parse(localStorage.getItem(SETTINGS) ?? "{}") as Partial<Value>) ?? {};
  } catch {
    return {};
  }
}

export const keepSettings = (settings: object): void => localStorage.setItem(SETTINGS, JSON.stringify(settings));

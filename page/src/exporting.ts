// A conversation as a file: Markdown to read (the path that is shown), JSON with every branch.
import { path, type Conversation, type Sample } from "./tree";

const VERDICTS = new Map<unknown, string>([[true, "right"], [false, "wrong"], [null, "can't be checked"]]);

function written(sample: Sample, heading: string): string {
  const thought = sample.thinking.trim();
  const folded = thought && `<details><summary>Thought: ${sample.thinkingTokens} tokens</summary>\n\n${fenced(thought)}\n\n</details>\n\n`;
  const verdict = VERDICTS.get(sample.verified);
  return `### ${heading}${verdict ? ` (${verdict})` : ""}\n\n${folded}${sample.answer.trim() || "*no answer*"}\n`;
}

/** A fence longer than any in the text, so that the text can't end it. */
function fenced(text: string): string {
  const fence = "`".repeat(Math.max(3, ...[...text.matchAll(/`+/g)].map((run) => run[0].length + 1)));
  return `${fence}text\n${text}\n${fence}`;
}

export function asMarkdown(talk: Conversation): string {
  const parts = path(talk).map((turn) => {
    const several = turn.samples.length > 1;
    const replies = turn.samples.map((sample, place) => written(sample, several ? `Reply ${place + 1}` : "Reply"));
    return `## ${turn.question.trim()}\n\n${turn.model}, effort ${turn.settings.effort}\n\n${replies.join("\n")}`;
  });
  return `# ${talk.title || "Conversation"}\n\n${parts.join("\n")}`;
}

export const asJson = (talk: Conversation): string => JSON.stringify({ format: "thinkaloud conversation", version: 1, ...talk }, null, 1) + "\n";

export const fileName = (talk: Conversation): string =>
  talk.title.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 48) || "conversation";

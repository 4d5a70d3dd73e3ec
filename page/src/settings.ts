// The row below the question: effort, budget, samples and the rest; kept from visit to visit.
import { byId, make } from "./dom";
import { keepSettings, kept } from "./store";
import type { Settings } from "./tree";

const START: Settings = { effort: "medium", budget: null, samples: 1, verify: false, temperature: null, seed: null, maxTokens: null };
const EFFORTS = ["none", "low", "medium", "high"] as const;
const SAMPLES = [1, 2, 4, 8, 16];

/** What is chosen now. */
export const settings: Settings = { ...START, ...kept<Settings>() };

function changed(change: Partial<Settings>): void {
  Object.assign(settings, change);
  keepSettings(settings);
}

type NumberName = "budget" | "temperature" | "seed" | "maxTokens";

function numberField(name: NumberName, label: string, hint: string, limits: { min: number; max: number; step: number }): HTMLElement {
  const input = make("input", {
    type: "number", ...limits, placeholder: "auto", inputmode: "decimal", value: settings[name], "data-setting": name,
    oninput: () => changed({ [name]: input.value === "" || !input.validity.valid ? null : Number(input.value) }),
  });
  return make("label", { title: hint }, make("span", {}, label), input);
}

function effortField(): HTMLElement {
  const choices = EFFORTS.map((effort) =>
    make("label", {}, make("input", {
      type: "radio", name: "effort", value: effort, checked: settings.effort === effort, onchange: () => changed({ effort }),
    }), make("span", {}, effort)),
  );
  return make("fieldset", { class: "segments", title: "How long it may think" }, make("legend", {}, "Effort"), ...choices);
}

function samplesField(): HTMLElement {
  const select = make("select", { "data-setting": "samples", onchange: () => changed({ samples: Number(select.value) }) },
    ...SAMPLES.map((count) => make("option", { value: count, selected: count === settings.samples }, String(count))));
  return make("label", { title: "Replies side by side, with a vote" }, make("span", {}, "Samples"), select);
}

function verifyField(): HTMLElement {
  const box = make("input", {
    type: "checkbox", checked: settings.verify, "data-setting": "verify", onchange: () => changed({ verify: box.checked }),
  });
  return make("label", { class: "tick", title: "Have the answer checked, where the question is of a family that can be" }, box, make("span", {}, "Check"));
}

/** Put the fields into the page. */
export function settingsRow(): void {
  const more = make("details", { class: "menu-fold more" }, make("summary", {}, "More"), make("div", {},
    numberField("temperature", "Temperature", "0: always the likeliest word; the model's own wish where left out", { min: 0, max: 2, step: 0.1 }),
    numberField("seed", "Seed", "The same seed gives the same reply", { min: 0, max: 2 ** 31, step: 1 }),
    numberField("maxTokens", "Most tokens", "Bound of thought and answer together", { min: 1, max: 1_000_000, step: 1 })));
  byId("settings").replaceChildren(
    effortField(),
    numberField("budget", "Budget", "Most tokens of thought; goes before effort", { min: 0, max: 1_000_000, step: 1 }),
    samplesField(), verifyField(), more,
  );
}

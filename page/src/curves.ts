// Curves as plain SVG: one line a stage over the share of its budget that is spent.
import { draw, make } from "./dom";

/** Progress from 0 to 1, step, value. */
export type Point = [number, number, number];
export interface Curve {
  label: string;
  stages: Record<string, Point[]>;
}

const WIDTH = 460;
const HEIGHT = 230;
const LEFT = 44;
const BOTTOM = 22;
const TOP = 8;
const RIGHT = 8;

/** Round steps that cut `low` to `high` into some four parts. */
export function ticks(low: number, high: number): number[] {
  const rough = (high - low || 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((one) => one >= rough) ?? rough;
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) found.push(tick);
  return found;
}

export const short = (value: number): string => {
  const size = Math.abs(value);
  return size >= 10_000 ? `${Math.round(value / 1000)}k` : size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1).replace(/\.0$/, "") : value.toFixed(2).replace(/\.?0+$/, "") || "0";
};

/** The drawing of a measure for the stages that `colours` names, each with its class of colour. */
export function chart(curve: Curve, colours: Map<string, string>): HTMLElement {
  const shown = Object.entries(curve.stages).filter(([stage]) => colours.has(stage));
  const readout = make("span", { class: "readout" });
  const figure = make("figure", {}, make("figcaption", {}, make("b", {}, curve.label), readout));
  if (!shown.length) {
    figure.append(make("p", { class: "none" }, "Nothing yet."));
    return figure;
  }
  const values = shown.flatMap(([, points]) => points.map((point) => point[2]));
  const share = /accuracy|reward/.test(curve.label);
  const low = Math.min(0, ...values);
  const high = share && Math.max(...values) <= 1 ? 1 : Math.max(...values, low + 1e-9);
  const x = (progress: number): number => LEFT + progress * (WIDTH - LEFT - RIGHT);
  const y = (value: number): number => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - BOTTOM - TOP);
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": spoken(curve.label, shown) });
  for (const tick of ticks(low, high)) {
    svg.append(draw("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick), class: "rule" }),
      draw("text", { x: LEFT - 7, y: y(tick) + 4, class: "tick end" }, short(tick)));
  }
  for (const part of [0, 0.5, 1]) svg.append(draw("text", { x: x(part), y: HEIGHT - 4, class: `tick ${part === 1 ? "end" : part ? "mid" : ""}` }, `${100 * part} %`));
  for (const [stage, points] of shown) {
    const path = points.map(([progress, , value], place) => `${place ? "L" : "M"}${x(progress).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    svg.append(draw("path", { d: path, class: `curve ${colours.get(stage)}` }));
    const last = points.at(-1)!;
    svg.append(draw("circle", { cx: x(last[0]), cy: y(last[2]), r: 3, class: `end-point ${colours.get(stage)}` }));
  }
  const hair = draw("line", { y1: TOP, y2: HEIGHT - BOTTOM, x1: -9, x2: -9, class: "hair" });
  svg.append(hair);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const progress = Math.min(1, Math.max(0, (((event as PointerEvent).clientX - box.left) / box.width * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT)));
    hair.setAttribute("x1", String(x(progress)));
    hair.setAttribute("x2", String(x(progress)));
    readout.replaceChildren(...shown.slice(0, 4).map(([stage, points]) => {
      const near = points.reduce((best, point) => (Math.abs(point[0] - progress) < Math.abs(best[0] - progress) ? point : best));
      return make("span", { class: colours.get(stage) }, `${short(near[2])} at step ${near[1]}`);
    }));
  });
  svg.addEventListener("pointerleave", () => {
    hair.setAttribute("x1", "-9");
    hair.setAttribute("x2", "-9");
    readout.replaceChildren();
  });
  figure.append(svg);
  return figure;
}

function spoken(label: string, shown: [string, Point[]][]): string {
  return `${label}: ${shown.map(([stage, points]) => `${stage} from ${short(points[0]![2])} to ${short(points.at(-1)![2])}`).join(", ")}`;
}

// The switch between light and dark; until it is used, the system's wish holds.
import { byId } from "./dom";

export function themeSwitch(): void {
  const root = document.documentElement;
  byId("scheme").addEventListener("click", () => {
    const dark = root.dataset.scheme ? root.dataset.scheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.scheme = dark ? "light" : "dark";
    localStorage.setItem("thinkaloud.scheme", root.dataset.scheme);
  });
}

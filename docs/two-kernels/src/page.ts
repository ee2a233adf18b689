// Fills every station, marks the one that is read, and keeps the theme.
import { bend } from "./station-bend.ts";
import { bias } from "./station-bias.ts";
import { border } from "./station-border.ts";
import { branches } from "./station-branches.ts";
import { channels } from "./station-channels.ts";
import { cost } from "./station-cost.ts";
import { flip } from "./station-flip.ts";
import { image } from "./station-image.ts";
import { product1 } from "./station-product.ts";
import { window6 } from "./station-window.ts";
import { layersOf, reportOf } from "./yours.ts";

const STATIONS: { [id: string]: (root: HTMLElement) => void } = {
  product: product1, flip, image, channels, bias, window: window6, border, branches, bend, cost, layers: layersOf, report: reportOf,
};

for (const [name, fill] of Object.entries(STATIONS)) {
  const root = document.querySelector<HTMLElement>(`[data-play="${name}"]`);
  if (root) fill(root);
}

const links = new Map([...document.querySelectorAll<HTMLAnchorElement>(".stations a")].map((a) => [a.hash.slice(1), a]));
const seen = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries)
      if (isIntersecting)
        links.forEach((a, id) => (id === target.id ? a.setAttribute("aria-current", "true") : a.removeAttribute("aria-current")));
  },
  { rootMargin: "-30% 0px -65% 0px" },
);
document.querySelectorAll("section[id]").forEach((section) => seen.observe(section));

const THEMES = ["auto", "light", "dark"];
const toggle = document.querySelector<HTMLButtonElement>(".theme");

/** Where the browser keeps nothing for this page, the choice lasts until it is closed. */
function kept(theme?: string): string | null {
  try {
    if (theme) localStorage.setItem("theme", theme);
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
}

function show(theme: string): void {
  document.documentElement.dataset.theme = theme;
  if (toggle) toggle.textContent = `Theme: ${theme}`;
}

show(THEMES.find((theme) => theme === kept()) ?? "auto");
toggle?.addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % 3];
  kept(next);
  show(next);
});

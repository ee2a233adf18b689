// A one-dimensional kernel as stems: drag a dot, or use the arrow keys on it.
import { draggable, h, svg } from "./dom.ts";
import { text } from "./numbers.ts";

export type Taps = { root: HTMLElement; set: (values: number[]) => void; mark: (which: (n: number) => boolean) => void };

type Options = { edit?: (n: number, v: number) => void; pick?: (n: number) => void; most: number };

const [WIDE, HIGH, HALF] = [46, 176, 62]; // of a tap, of the picture, of the longest stem

/** Stems of `name`, between −most and most. */
export function taps(name: string, values: number[], { edit, pick, most }: Options): Taps {
  const picture = svg("svg", { class: `taps ${edit ? "editable" : ""}`, role: "group", "aria-label": name });
  const root = h("div", { class: "stems", "data-name": name }, h("div", { class: "caption", "aria-hidden": "true" }, name), picture);
  let now = values;
  let marked: (n: number) => boolean = () => false;
  const y = (v: number): number => HIGH / 2 - (HALF * v) / (edit ? most : Math.max(most, ...now.map(Math.abs)));

  const stem = (n: number): SVGElement => {
    const x = WIDE * (n + 0.5);
    const tap = svg(
      "g",
      { class: "tap", tabindex: 0, role: edit ? "slider" : "button", "data-tap": n },
      svg("rect", { class: "hit", x: x - WIDE / 2, y: 0, width: WIDE, height: HIGH }),
      svg("line", { class: "stem", x1: x, x2: x, y1: HIGH / 2 }),
      svg("circle", { class: "dot", cx: x, r: edit ? 8 : 6.5 }),
      svg("text", { class: "label", x }),
      svg("text", { class: "index", x, y: HIGH - 4 }, `${n}`),
    );
    if (edit) {
      tap.setAttribute("aria-label", `${name}[${n}]`);
      tap.setAttribute("aria-orientation", "vertical");
      tap.setAttribute("aria-valuemin", String(-most));
      tap.setAttribute("aria-valuemax", String(most));
      const to = (v: number): void => {
        const kept = Math.max(-most, Math.min(most, v));
        if (kept !== now[n]) edit(n, kept);
      };
      let [from, step] = [0, 1];
      const begin = (): void => {
        from = now[n];
        step = picture.getBoundingClientRect().height / HIGH; // pixels for a unit of the picture
      };
      draggable(tap, begin, (pixels) => to(Math.round(4 * (from + (pixels / step / HALF) * most)) / 4), 1);
      tap.addEventListener("keydown", (event) => {
        const by: { [key: string]: number } = {
          ArrowUp: 0.25, ArrowRight: 0.25, ArrowDown: -0.25, ArrowLeft: -0.25, PageUp: 1, PageDown: -1, Home: -99, End: 99,
        };
        const step = by[(event as KeyboardEvent).key];
        if (step === undefined) return;
        event.preventDefault();
        to(now[n] + step);
      });
    }
    if (pick) for (const event of ["pointerenter", "focus", "click"]) tap.addEventListener(event, () => pick(n));
    return tap;
  };

  const set = (next: number[]): void => {
    if (picture.querySelectorAll(".tap").length !== next.length) {
      picture.setAttribute("viewBox", `0 0 ${WIDE * next.length} ${HIGH}`);
      picture.style.setProperty("--taps", String(next.length));
      const axis = svg("line", { class: "axis", x1: 0, x2: WIDE * next.length, y1: HIGH / 2, y2: HIGH / 2 });
      picture.replaceChildren(axis, ...next.map((_, n) => stem(n)));
    }
    now = next;
    picture.querySelectorAll<SVGElement>(".tap").forEach((tap, n) => {
      const v = next[n];
      tap.classList.toggle("pos", v > 0);
      tap.classList.toggle("neg", v < 0);
      tap.classList.toggle("marked", marked(n));
      tap.dataset.value = String(v);
      tap.querySelector(".stem")?.setAttribute("y2", String(y(v)));
      tap.querySelector(".dot")?.setAttribute("cy", String(y(v)));
      const label = tap.querySelector(".label");
      label?.setAttribute("y", String(y(v) + (v < 0 ? 24 : -14)));
      if (label) label.textContent = text(v);
      if (edit) {
        tap.setAttribute("aria-valuenow", String(v));
        tap.setAttribute("aria-valuetext", text(v));
      } else {
        tap.setAttribute("aria-label", `${name}[${n}] = ${text(v)}`);
        tap.setAttribute("aria-pressed", String(marked(n)));
      }
    });
  };
  set(values);
  return { root, set, mark: (which) => ((marked = which), set(now)) };
}

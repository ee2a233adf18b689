// A kernel as a grid of numbers: to read, to change (drag a cell, or ↑ and ↓) or to point at.
import { draggable, h, roving, tone } from "./dom.ts";
import type { Grid } from "./grid.ts";
import { text } from "./numbers.ts";

export type Cells = {
  root: HTMLElement;
  set: (values: Grid) => void;
  mark: (which: (r: number, c: number) => string) => void;
};

type Options = {
  edit?: (r: number, c: number, v: number) => void;
  pick?: (r: number, c: number) => void;
  most?: number; // the value of the strongest colour, and the limit of what can be set
  step?: number;
  small?: boolean;
  caption?: string;
  digits?: number;
};

/** `name` finds it in tests; `label` says what it is to a screen reader. */
export function cells(name: string, label: string, values: Grid, options: Options = {}): Cells {
  const { edit, pick, most = 2, step = 0.25, digits = 2 } = options;
  let now = values;
  const kind = edit ? "spinbutton" : pick ? "button" : "";
  const all = values.map((row, r) =>
    row.map((_, c) => {
      const cell = kind === "button" ? h("button", { type: "button" }) : h("span", kind ? { role: kind } : {});
      cell.className = `cell ${kind}`;
      if (edit) {
        cell.setAttribute("aria-label", `${label}, row ${r + 1} column ${c + 1}`);
        cell.setAttribute("aria-valuemin", String(-most));
        cell.setAttribute("aria-valuemax", String(most));
        const to = (v: number): void => {
          const kept = Math.max(-most, Math.min(most, v));
          if (kept !== now[r][c]) edit(r, c, kept);
        };
        let from = 0;
        draggable(cell, () => (from = now[r][c]), (steps) => to(from + steps * step), 7);
        cell.addEventListener("keydown", (event) => {
          const by: { [key: string]: number } = { ArrowUp: step, ArrowDown: -step, PageUp: 4 * step, PageDown: -4 * step };
          if (by[event.key] === undefined) return;
          event.preventDefault();
          to(now[r][c] + by[event.key]);
        });
      }
      if (pick) for (const event of ["pointerenter", "focus", "click"]) cell.addEventListener(event, () => pick(r, c));
      return cell;
    }),
  );
  if (kind) roving(all.flat());
  const body = h("div", { class: "grid", role: kind ? "group" : "img", "data-name": name }, ...all.flat());
  body.style.setProperty("--columns", String(values[0].length));
  const caption = options.caption ? h("div", { class: "caption", "aria-hidden": "true" }, options.caption) : null;
  const root = h("div", { class: `kernel${options.small ? " small" : ""}` }, caption, body);
  const set = (next: Grid): void => {
    now = next;
    all.forEach((row, r) =>
      row.forEach((cell, c) => {
        const v = next[r][c];
        if (cell.dataset.value === String(v)) return;
        cell.dataset.value = String(v);
        cell.textContent = text(v, digits);
        tone(cell, v, most);
        if (edit) cell.setAttribute("aria-valuenow", String(v));
        else if (pick) cell.setAttribute("aria-label", `${label}, row ${r + 1} column ${c + 1}: ${text(v)}`);
      }),
    );
    const said = `${label}: ${next.map((row) => row.map((v) => text(v, digits)).join(", ")).join("; ")}`;
    body.setAttribute("aria-label", kind ? label : said);
  };
  set(values);
  return {
    root,
    set,
    mark: (which) =>
      all.forEach((row, r) =>
        row.forEach((cell, c) => {
          const mark = which(r, c);
          cell.classList.toggle("marked", mark !== "");
          if (mark) cell.dataset.mark = mark;
          else delete cell.dataset.mark;
        }),
      ),
  };
}

// 7: the border.
import { cutAt, exact, inTurn, naive, piece } from "./border.ts";
import type { Pair } from "./border.ts";
import { cells } from "./cells.ts";
import type { Cells } from "./cells.ts";
import { h, number, roving, says, slider, svg, tone } from "./dom.ts";
import { grid, largest, minus } from "./grid.ts";
import type { Grid } from "./grid.ts";
import { quarters, text, tiny } from "./numbers.ts";

const [SIZE, FRAME] = [7, 13.4]; // of the picture; of a frame, in pixels of it

/** What a piece is called, by how its window is cut. */
function named(top: number, left: number, p2: number): string {
  const row = top === 0 ? "" : top < 0 ? "top" : "bottom";
  const column = left === 0 ? "" : left < 0 ? "left" : "right";
  const which = row && column ? `${row} ${column} corner` : row || column ? `${row || column} edge` : "interior";
  const deep = [top, left].filter((n) => n !== 0).map((n) => Math.abs(n));
  return p2 > 1 && deep.length ? `${which}, ${deep.join(" and ")} cut` : which;
}

export function border(root: HTMLElement): void {
  const next = quarters(5, 1);
  const x = grid(SIZE, SIZE, () => next() * 4);
  let [a, b] = [[[0.5, 1, -0.5], [1, -1, 0.25], [0, 0.5, 1]], [[1, 0.5, 0], [-0.5, 1, 0.5], [0.25, -1, 1]]];
  const p1 = slider("border-p1", "Padding of the first layer, p1", [0, 2, 1], 1, rebuild);
  const p2 = slider("border-p2", "Padding of the second layer, p2", [0, 2, 1], 1, rebuild);
  const b1 = slider("border-b1", "Bias of the first layer, b1", [-2, 2, 0.25], 1, draw);
  const said = says("border-off");
  const told = says("border-piece");
  const maps = h("div", { class: "maps" });
  const pieces = h("div", { class: "pieces", role: "group", "aria-label": "One kernel for every way a window is cut" });
  const big = h("div");
  let at: [number, number] = [-1, -1]; // the piece shown: rows cut at the top (< 0) or bottom, columns likewise
  let shown: { [name: string]: Cells } = {};
  let minis: { top: number; left: number; element: HTMLElement; rects: SVGElement[] }[] = [];
  let large: Cells | null = null;

  const pair = (): Pair => ({ a, b1: b1.value(), p1: p1.value(), b, b2: 0.5, p2: p2.value() });
  const cut = (top: number, left: number): { top: number; bottom: number; left: number; right: number } => ({
    top: Math.max(0, -top), bottom: Math.max(0, top), left: Math.max(0, -left), right: Math.max(0, left),
  });

  function rebuild(): void {
    const now = pair();
    const y = inTurn(x, now);
    frames[0].draw(SIZE, now.p1);
    frames[1].draw(SIZE + 2 * now.p1 - 2, now.p2);
    const pick = (r: number, c: number): void => {
      const here = cutAt(now, SIZE, SIZE, r, c);
      choose(here.bottom - here.top, here.right - here.left);
    };
    shown = {
      naive: cells("border-naive", "naive minus true", y, { most: 4, pick, caption: "naive − true", digits: 1 }),
      exact: cells("border-exact", "exact minus true", y, { most: 4, pick, caption: "exact − true", digits: 1 }),
    };
    maps.replaceChildren(shown.naive.root, shown.exact.root);
    maps.classList.toggle("dense", y.length > 7);
    const around = Array.from({ length: 2 * now.p2 + 1 }, (_, n) => n - now.p2);
    // from the outermost at the top (most rows cut there) to the outermost at the bottom
    minis = around.flatMap((top) =>
      around.map((left) => {
        const rects = grid(5, 5).flatMap((row, r) => row.map((_, c) => svg("rect", { class: "mini-cell", x: c * 8, y: r * 8, width: 7.4, height: 7.4, rx: 1 })));
        const element = h("button", { type: "button", class: "piece", click: () => choose(top, left), focus: () => choose(top, left), pointerenter: () => choose(top, left) },
          svg("svg", { viewBox: "0 0 39.4 39.4", "aria-hidden": "true" }, ...rects));
        return { top, left, element, rects };
      }),
    );
    pieces.style.setProperty("--columns", String(around.length));
    roving(minis.map((m) => m.element));
    pieces.replaceChildren(...minis.map((m) => m.element));
    at = [Math.max(-now.p2, Math.min(now.p2, at[0])), Math.max(-now.p2, Math.min(now.p2, at[1]))];
    large = cells("border-kernel", "the kernel shown", grid(5, 5), { most: 3 });
    big.replaceChildren(large.root);
    draw();
  }

  // Two frames: the picture in its ring of zeros, the first's output in its ring of ghosts. Dragging a ring pads.
  function frame(label: string, knob: typeof p1, ring: string): { root: HTMLElement; draw: (inner: number, p: number) => void } {
    const picture = svg("svg", { class: "frame", "aria-hidden": "true" });
    const note = h("figcaption", {}, label);
    let inner = SIZE;
    const move = (event: PointerEvent): void => {
      const box = picture.getBoundingClientRect();
      const cell = box.width / FRAME;
      const far = Math.max(Math.abs(event.clientX - box.x - box.width / 2), Math.abs(event.clientY - box.y - box.height / 2));
      const p = Math.max(0, Math.min(2, Math.round(far / cell - inner / 2)));
      if (p !== knob.value()) {
        knob.set(p);
        rebuild();
      }
    };
    picture.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      picture.setPointerCapture((event as PointerEvent).pointerId);
      move(event as PointerEvent);
    });
    picture.addEventListener("pointermove", (event) => {
      if (picture.hasPointerCapture((event as PointerEvent).pointerId)) move(event as PointerEvent);
    });
    picture.setAttribute("viewBox", `0 0 ${FRAME * 10} ${FRAME * 10}`);
    return {
      root: h("figure", { class: "frame-figure" }, picture, note),
      draw: (size, p) => {
        inner = size;
        const first = (FRAME - size) / 2 - p;
        const all = size + 2 * p;
        picture.replaceChildren(...grid(all, all).flatMap((row, r) => row.map((_, c) => {
          const out = r < p || c < p || r >= all - p || c >= all - p;
          return svg("rect", { class: out ? ring : "inside", x: (first + c) * 10 + 0.75, y: (first + r) * 10 + 0.75, width: 8.5, height: 8.5, rx: 1.5 });
        })));
        note.textContent = `${label}, ${size} × ${size}, in ${p ? p : "no"} ring${p === 1 ? "" : "s"}`;
      },
    };
  }
  const frames = [frame("picture", p1, "zeros"), frame("first's output", p2, "ghosts")];

  function choose(top: number, left: number): void {
    if (at[0] === top && at[1] === left) return;
    at = [top, left];
    mark();
  }

  function draw(): void {
    const now = pair();
    const y = inTurn(x, now);
    const [wrong, right] = [minus(naive(x, now), y), minus(exact(x, now), y)];
    shown.naive.set(wrong);
    shown.exact.set(right);
    for (const m of minis) {
      const { kernel, bias } = piece(now, cut(m.top, m.left));
      m.rects.forEach((rect, n) => tone(rect, kernel.flat()[n], 3));
      m.element.setAttribute("aria-label", `${named(m.top, m.left, now.p2)}, bias ${text(bias)}`);
      m.element.dataset.kernel = JSON.stringify(kernel);
      m.element.dataset.bias = String(bias);
    }
    const bad = wrong.flat().filter((v) => v !== 0).length;
    const reason = now.p2 === 0 ? " The second layer is not padded: no ghost is read."
      : bad === 0 ? " The first pads in full and has no bias: its ghosts are zeros, and nothing goes wrong." : "";
    said.set("Naive: ", number(bad, "border-wrong", 0), ` of ${y.flat().length} outputs are wrong, by at most `, number(largest(wrong), "border-most"),
      ". Exact: largest difference ", h("b", { "data-name": "border-right", "data-value": largest(right) }, tiny(largest(right))), ".", reason);
    mark();
  }

  function mark(): void {
    const now = pair();
    for (const m of minis) {
      const on = m.top === at[0] && m.left === at[1];
      m.element.classList.toggle("marked", on);
      m.element.setAttribute("aria-pressed", String(on));
    }
    const belongs = (r: number, c: number): string => {
      const here = cutAt(now, SIZE, SIZE, r, c);
      return here.bottom - here.top === at[0] && here.right - here.left === at[1] ? " " : "";
    };
    shown.naive.mark(belongs);
    shown.exact.mark(belongs);
    const { kernel, bias } = piece(now, cut(...at));
    large?.set(kernel);
    told.set(h("strong", {}, named(...at, now.p2)), ": this kernel, and the bias ", number(bias, "border-bias"), ".");
  }

  const edit = (of: "a" | "b") => (r: number, c: number, v: number): void => {
    const changed = (of === "a" ? a : b).map((row, i) => row.map((old, j) => (i === r && j === c ? v : old)));
    if (of === "a") ca.set((a = changed));
    else cb.set((b = changed));
    draw();
  };
  const ca = cells("border-a", "kernel A", a, { edit: edit("a"), small: true, caption: "A, first" });
  const cb = cells("border-b", "kernel B", b, { edit: edit("b"), small: true, caption: "B, second" });
  root.append(
    h("div", { class: "row" }, h("div", { class: "controls stack" }, p1.root, p2.root, b1.root), ...frames.map((f) => f.root), ca.root, cb.root),
    maps, said.root,
    h("div", { class: "row top" },
      h("div", {}, h("div", { class: "caption" }, "a kernel for every cut of the window"), pieces),
      h("div", {}, big, told.root)),
  );
  root.dataset.picture = JSON.stringify(x as Grid);
  rebuild();
}

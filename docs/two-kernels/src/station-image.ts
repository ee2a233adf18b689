// 3: two dimensions, on a picture.
import { cells } from "./cells.ts";
import { button, check, h, number, says } from "./dom.ts";
import { compose, grid, largest, layer, minus, parents } from "./grid.ts";
import type { Grid } from "./grid.ts";
import { quarters, text, tiny } from "./numbers.ts";

const SIZE = 44;

/** A picture of whole numbers: rings, an edge and a ramp. */
export function picture(): Grid {
  return grid(SIZE, SIZE, (r, c) => {
    const d = Math.hypot(r - 18, c - 17);
    const ring = d < 5 || (d > 9 && d < 13) ? 120 : 0;
    const bar = c > 30 && c < 35 && r > 6 ? 90 : 0;
    return Math.min(255, 30 + ring + bar + (r > 34 ? 80 : 0) + 2 * c);
  });
}

const KERNELS: { [name: string]: Grid } = {
  blur: grid(3, 3, (r, c) => [1, 2, 1][r] * [1, 2, 1][c] / 16),
  edge: [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
  sharpen: [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
  shift: [[0, 0, 0], [0, 0, 0], [0, 0, 1]],
};

/** Grey from low to high; a difference instead from nothing to orange. */
function paint(canvas: HTMLCanvasElement, image: Grid, low: number, high: number, isDifference = false): void {
  canvas.width = image[0].length;
  canvas.height = image.length;
  const context = canvas.getContext("2d");
  if (!context) return;
  const data = context.createImageData(canvas.width, canvas.height);
  image.flat().forEach((v, n) => {
    const share = Math.max(0, Math.min(1, (v - low) / (high - low || 1)));
    data.data.set(isDifference ? [204, 85, 0, v === 0 ? 0 : 90 + 165 * share] : [255 * share, 255 * share, 255 * share, 255], 4 * n);
  });
  context.putImageData(data, 0, 0);
}

export function image(root: HTMLElement): void {
  let [a, b] = [KERNELS.blur, KERNELS.edge];
  let nudged = false;
  let at: [number, number] = [1, 2];
  const x = picture();
  const edit = (which: "a" | "b") => (r: number, c: number, v: number): void => {
    const changed = (which === "a" ? a : b).map((row, i) => row.map((old, j) => (i === r && j === c ? v : old)));
    if (which === "a") a = changed;
    else b = changed;
    draw();
  };
  const ca = cells("image-a", "kernel A", a, { edit: edit("a"), most: 5, caption: "A" });
  const cb = cells("image-b", "kernel B", b, { edit: edit("b"), most: 5, caption: "B" });
  const ck = cells("image-k", "kernel K", compose(a, b), { pick: (r, c) => ((at = [r, c]), mark()), most: 5, caption: "K" });
  const made = says("image-pairs");
  const off = says("image-said");
  const views = ["the picture", "A, then B", "K alone", "difference"].map((label, n) => {
    const canvas = h("canvas", { class: n === 3 ? "view zero" : "view", role: "img", "aria-label": label }) as HTMLCanvasElement;
    const caption = h("figcaption", {}, label);
    return { canvas, caption, root: h("figure", {}, canvas, caption) };
  });

  function mark(): void {
    const found = parents(at[0], at[1], a, b);
    const name = (n: number): string => String.fromCharCode(97 + n);
    const mark = (r: number, c: number, first: number): string => {
      const n = found.findIndex((p) => p[first] === r && p[first + 1] === c);
      return n < 0 ? "" : name(n);
    };
    ca.mark((r, c) => mark(r, c, 0));
    cb.mark((r, c) => mark(r, c, 2));
    ck.mark((r, c) => (r === at[0] && c === at[1] ? " " : ""));
    const products = found.map(([r1, c1, r2, c2]) => a[r1][c1] * b[r2][c2]);
    made.set(
      `K[${at}] = ${products.map((v, n) => `${name(n)} ${text(v, 3)}`).join(" + ")} = `.replaceAll("+ −", "− ").replaceAll(",", ", "),
      number(products.reduce((s, v) => s + v, 0), "image-picked", 3), `, ${found.length} pair${found.length > 1 ? "s" : ""}.`,
    );
  }

  function draw(): void {
    const whole = compose(a, b);
    if (nudged) whole[2][2] += 0.25;
    ca.set(a);
    cb.set(b);
    ck.set(whole);
    const two = layer(layer(x, a), b);
    const one = layer(x, whole);
    const wrong = minus(two, one).map((row) => row.map(Math.abs));
    const most = largest(wrong);
    const [low, high] = [Math.min(...two.flat()), Math.max(...two.flat())];
    paint(views[0].canvas, x, 0, 255);
    paint(views[1].canvas, two, low, high);
    paint(views[2].canvas, one, low, high);
    paint(views[3].canvas, wrong, 0, most, true);
    views[3].caption.textContent = `difference: ${most === 0 ? "nothing" : `at most ${tiny(most)}`}`;
    off.set("Largest difference over ", `${two.length} × ${two[0].length} pixels: `, h("b", { "data-name": "image-off", "data-value": most }, tiny(most)),
      nudged ? ". The picture is not blind: a wrong K shows." : ".");
    mark();
  }

  const next = quarters(11, 1.5);
  const random = (): Grid => grid(3, 3, () => next());
  const choose = (label: string, of: string, made: () => Grid, set: (k: Grid) => void): HTMLElement =>
    button(`image-${of}-${label}`, label, () => (set(made()), draw()));
  const presets = (of: string, set: (k: Grid) => void): HTMLElement =>
    h("div", { class: "buttons", role: "group", "aria-label": `Kernels for ${of.toUpperCase()}` },
      ...Object.keys(KERNELS).map((name) => choose(name, of, () => KERNELS[name], set)), choose("random", of, random, set));
  root.append(
    h("div", { class: "row equation" },
      h("div", {}, ca.root, presets("a", (k) => (a = k))), h("span", { class: "sign", "aria-hidden": "true" }, "∗"),
      h("div", {}, cb.root, presets("b", (k) => (b = k))), h("span", { class: "sign", "aria-hidden": "true" }, "="),
      ck.root),
    made.root,
    h("div", { class: "views" }, ...views.map((view) => view.root)),
    h("div", { class: "controls" }, check("image-nudge", "Nudge the middle of K by 0.25", false, (on) => ((nudged = on), draw()))),
    off.root,
  );
  draw();
}

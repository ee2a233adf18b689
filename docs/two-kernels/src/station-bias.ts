// 5: the bias is a constant map.
import { merged } from "./bias.ts";
import { cells } from "./cells.ts";
import { h, number, says, slider } from "./dom.ts";
import { grid, layer, plus, total } from "./grid.ts";
import { text } from "./numbers.ts";

export function bias(root: HTMLElement): void {
  const kernels = [[[0.5, 1, 0], [-1, 0.75, 0.25], [0, 1, -0.5]], [[0, -0.5, 0.5], [1, -1.5, 0], [0.25, 0, 0.5]]];
  const b1 = [0, 1].map((m) => slider(`bias-b1-${m}`, `b1[${m}], bias of middle channel ${m}`, [-2, 2, 0.25], [1.5, -1][m], draw));
  const b2 = slider("bias-b2", "b2, bias of the second layer", [-2, 2, 0.25], 0.5, draw);
  const at = slider("bias-at", "Move the window", [0, 8, 1], 4, draw, (v) => `row ${Math.floor(v / 3)}, column ${v % 3}`);
  const maps = [0, 1].map((m) => cells(`bias-map-${m}`, `constant map ${m}`, grid(5, 5), { most: 4, small: true, caption: `h${m} = b1[${m}]` }));
  const edit = (m: number) => (r: number, c: number, v: number): void => {
    kernels[m] = kernels[m].map((row, i) => row.map((old, j) => (i === r && j === c ? v : old)));
    draw();
  };
  const shown = [0, 1].map((m) => cells(`bias-kernel-${m}`, `kernel B[${m}]`, kernels[m], { edit: edit(m), most: 2, small: true, caption: `B[${m}]` }));
  const out = cells("bias-out", "output", grid(3, 3), { most: 6, small: true, caption: "output" });
  const said = says("bias-sum");

  function draw(): void {
    const biases = b1.map((s) => s.value());
    const h1 = biases.map((v) => grid(5, 5, () => v));
    const [r, c] = [Math.floor(at.value() / 3), at.value() % 3];
    maps.forEach((map, m) => {
      map.set(h1[m]);
      map.mark((i, j) => (i >= r && i < r + 3 && j >= c && j < c + 3 ? " " : ""));
      shown[m].set(kernels[m]);
    });
    out.set(plus(layer(h1[0], kernels[0], b2.value()), layer(h1[1], kernels[1])));
    out.mark((i, j) => (i === r && j === c ? " " : ""));
    const signed = (v: number): string => (v < 0 ? `(${text(v)})` : text(v));
    const terms = biases.map((v, m) => `${signed(v)} · ${signed(total(kernels[m]))}`);
    said.set(`b = b2 + Σ b1[m]·ΣB[m] = ${text(b2.value())} + ${terms.join(" + ")} = `, number(merged(biases, kernels, b2.value()), "bias-b"), ", the same in every window.");
  }

  const line = (m: number): HTMLElement =>
    h("div", { class: "row tight" }, maps[m].root, h("span", { class: "sign", "aria-hidden": "true" }, "∗"), shown[m].root);
  root.append(
    h("div", { class: "controls" }, ...b1.map((s) => s.root), b2.root, at.root),
    h("div", { class: "row equation" }, h("div", { class: "stack" }, line(0), line(1)),
      h("span", { class: "sign", "aria-hidden": "true" }, "+ b2 ="), out.root),
    said.root,
  );
  draw();
}

// 8: branches and batch norms.
import { centred, folded, scale, sum } from "./branches.ts";
import type { Norm } from "./branches.ts";
import { cells } from "./cells.ts";
import { check, h, number, says, slider } from "./dom.ts";
import { grid, largest, layer, minus, plus } from "./grid.ts";
import type { Grid } from "./grid.ts";
import { quarters, text } from "./numbers.ts";

export function branches(root: HTMLElement): void {
  const kernels: Grid[] = [[[0.5, -1, 0], [1, 1.5, -0.5], [0, 0.25, 1]], [[1.25]], [[1]]];
  const names = ["3×3 convolution", "1×1 convolution", "the identity"];
  const fixed = [{ beta: 0.5, mean: 0.75 }, { beta: -0.25, mean: -0.5 }, { beta: 0, mean: 0.25 }];
  const on = [true, true, true];
  const next = quarters(23, 2);
  const x = grid(9, 11, () => next());
  const said = says("branches-said");
  const rows = kernels.map((kernel, n) => {
    const own = cells(`branches-kernel-${n}`, `kernel of branch ${n + 1}`, kernel,
      n < 2 ? { edit: (r, c, v) => ((kernels[n] = kernels[n].map((row, i) => row.map((old, j) => (i === r && j === c ? v : old)))), draw()), small: true } : { small: true });
    const gamma = slider(`branches-gamma-${n}`, "γ", [-2, 2, 0.25], [1, 1.5, 0.5][n], draw);
    const variance = slider(`branches-variance-${n}`, "σ²", [0.25, 4, 0.25], [2, 1, 0.5][n], draw);
    const as = cells(`branches-folded-${n}`, `branch ${n + 1} as a 3×3 kernel`, grid(3, 3), { small: true, most: 3 });
    const bias = h("span", { class: "note" });
    const line = h("div", { class: "branch" },
      h("div", { class: "branch-own" }, check(`branches-on-${n}`, names[n], true, (yes) => ((on[n] = yes), line.classList.toggle("off", !yes), draw())), own.root),
      h("div", { class: "controls stack" }, gamma.root, variance.root, h("span", { class: "note" }, `β = ${text(fixed[n].beta)}, μ = ${text(fixed[n].mean)}`)),
      h("div", {}, as.root, bias));
    return { own, gamma, variance, as, bias, line };
  });
  const whole = cells("branches-k", "kernel K", grid(3, 3), { most: 3, caption: "K" });
  const norm = (n: number): Norm => ({ gamma: rows[n].gamma.value(), variance: rows[n].variance.value(), eps: 1e-5, ...fixed[n] });

  function draw(): void {
    const parts = kernels.map((kernel, n) => {
      rows[n].own.set(kernel);
      const part = folded(centred(kernel, 3), norm(n));
      rows[n].as.set(part.kernel);
      rows[n].bias.textContent = `g = ${text(scale(norm(n)))}, bias ${text(part.bias)}`;
      return part;
    });
    const kept = parts.filter((_, n) => on[n]);
    const { kernel, bias } = sum(kept, 3);
    whole.set(kernel);
    // The branches as they are: convolve, normalise, add; against the one kernel.
    const apart = kernels.flatMap((k, n) => {
      if (!on[n]) return [];
      const { gamma, beta, mean, variance, eps } = norm(n);
      return [layer(x, k, 0, (k.length - 1) / 2).map((row) => row.map((v) => ((v - mean) / Math.sqrt(variance + eps)) * gamma + beta))];
    });
    const off = apart.length ? largest(minus(apart.reduce(plus), layer(x, kernel, bias, 1))) : 0;
    said.set("Bias ", number(bias, "branches-bias"), `. ${kept.length} branch${kept.length === 1 ? "" : "es"} against one kernel on a 9 × 11 picture: largest difference `,
      h("b", { "data-name": "branches-off", "data-value": off }, off === 0 ? "0" : off < 1e-12 ? "0, but for rounding" : text(off)), ".");
  }

  root.append(h("div", { class: "branches" }, h("div", { class: "stack" }, ...rows.map((row) => row.line)),
    h("div", { class: "sum" }, h("span", { class: "sign", "aria-hidden": "true" }, "Σ ="), whole.root)), said.root);
  draw();
}

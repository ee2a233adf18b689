// 4: many channels.
import { cells } from "./cells.ts";
import type { Cells } from "./cells.ts";
import { multiply } from "./channels.ts";
import type { Kernel } from "./channels.ts";
import { button, h, number, says, slider } from "./dom.ts";
import { quarters, text } from "./numbers.ts";
import { product } from "./polynomial.ts";

export function channels(root: HTMLElement): void {
  const next = quarters(3, 1.5);
  const fresh = (rows: number, columns: number): Kernel =>
    Array.from({ length: rows }, () => Array.from({ length: columns }, () => [next(), next()]));
  let [b, a] = [fresh(4, 4), fresh(4, 4)];
  let at: [number, number] = [0, 1];
  const sliders = [
    slider("channels-o", "Channels out, O", [1, 3, 1], 2, build),
    slider("channels-m", "Middle channels, M", [1, 4, 1], 3, build),
    slider("channels-i", "Channels in, I", [1, 3, 1], 2, build),
  ];
  const place = h("div", { class: "row equation matrices" });
  const made = says("channels-terms");
  let shown: { [name: string]: Cells[][] } = {};

  const cut = (): [Kernel, Kernel] => {
    const [o, m, i] = sliders.map((s) => s.value());
    return [b.slice(0, o).map((row) => row.slice(0, m)), a.slice(0, m).map((row) => row.slice(0, i))];
  };

  function matrix(name: string, k: Kernel, edit?: (r: number, c: number, t: number, v: number) => void): HTMLElement {
    shown[name] = k.map((row, r) =>
      row.map((entry, c) =>
        cells(`${name}-${r}-${c}`, `${name}[${r}, ${c}]`, [entry], edit
          ? { edit: (_, t, v) => edit(r, c, t, v), most: 2, small: true }
          : { pick: () => ((at = [r, c]), mark()), most: 4, small: true }),
      ),
    );
    const body = h("div", { class: "matrix" }, ...shown[name].flat().map((one) => one.root));
    body.style.setProperty("--columns", String(k[0].length));
    return h("div", {}, h("div", { class: "caption", "aria-hidden": "true" }, `${name}, ${k.length} × ${k[0].length}`), body);
  }

  function build(): void {
    const [kb, ka] = cut();
    at = [Math.min(at[0], kb.length - 1), Math.min(at[1], ka[0].length - 1)];
    const set = (of: Kernel) => (r: number, c: number, t: number, v: number): void => {
      of[r][c][t] = v;
      draw();
    };
    shown = {};
    place.replaceChildren(
      matrix("B", kb, set(b)), h("span", { class: "sign", "aria-hidden": "true" }, "·"),
      matrix("A", ka, set(a)), h("span", { class: "sign", "aria-hidden": "true" }, "="),
      matrix("K", multiply(kb, ka)),
    );
    draw();
  }

  function draw(): void {
    const [kb, ka] = cut();
    for (const [name, k] of [["B", kb], ["A", ka], ["K", multiply(kb, ka)]] as [string, Kernel][])
      k.forEach((row, r) => row.forEach((entry, c) => shown[name][r][c].set([[...entry]])));
    mark();
  }

  function mark(): void {
    const [kb, ka] = cut();
    const [o, i] = at;
    const on = (yes: boolean) => (): string => (yes ? " " : "");
    shown.B.forEach((row, r) => row.forEach((one) => one.mark(on(r === o))));
    shown.A.forEach((row) => row.forEach((one, c) => one.mark(on(c === i))));
    shown.K.forEach((row, r) => row.forEach((one, c) => one.mark(on(r === o && c === i))));
    const terms = kb[o].map((entry, m) => `B[${o},${m}]∗A[${m},${i}] (${product(entry, ka[m][i]).map((v) => text(v)).join(", ")})`);
    made.set(`K[${o}, ${i}] = ${terms.join(" + ")} = (`,
      ...multiply(kb, ka)[o][i].flatMap((v, t) => [t ? ", " : "", number(v, `channels-${t}`)]), ").");
  }

  root.append(
    h("div", { class: "controls" }, ...sliders.map((s) => s.root),
      button("channels-random", "Other numbers", () => (([b, a] = [fresh(4, 4), fresh(4, 4)]), build()))),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Matrices of kernels" }, place),
    made.root,
  );
  build();
}

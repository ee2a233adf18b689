// 6: stride and upsampling, by the window formula.
import { h, says, slider, svg } from "./dom.ts";
import type { Slider } from "./dom.ts";
import { text, tiny } from "./numbers.ts";
import { gcd, isOne, joined, output, place, reads, reduced, taps } from "./window.ts";
import type { Window } from "./window.ts";

const [LEFT, RIGHT, WIDE, HIGH] = [-7, 25, 720, 236]; // of the common grid; of the picture

export function window6(root: HTMLElement): void {
  const knob = (which: string, name: string, key: string, range: [number, number, number], v: number): Slider =>
    slider(`window-${key}${which}`, name, range, v, draw);
  const [one, two] = [["1", [3, 2, 1, 1, 1]], ["2", [2, 1, 1, 1, 0]]].map(([which, [k, s, d, u, p]]: any) => ({
    taps: knob(which, "taps k", "k", [1, 4, 1], k),
    stride: knob(which, "stride s", "s", [1, 3, 1], s),
    dilation: knob(which, "dilation d", "d", [1, 3, 1], d),
    up: knob(which, "upsampling u", "u", [1, 3, 1], u),
    lo: knob(which, "padding p", "p", [0, 3, 1], p),
  }));
  const at = slider("window-n", "Output n", [0, 5, 1], 1, draw);
  const view = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "rows", role: "img" });
  const said = says("window-said");
  const table = h("table", { class: "facts" });
  const x = (i: number): number => ((((i * 7) % 11) + 11) % 11) / 4 - 1; // a signal without end

  const of = (knobs: typeof one): Window => ({
    taps: knobs.taps.value(), stride: knobs.stride.value(), dilation: knobs.dilation.value(),
    up: knobs.up.value(), lo: knobs.lo.value(),
  });
  const kernel = (n: number, from: number): number[] => Array.from({ length: n }, (_, i) => from + i * (from > 1 ? -0.5 : 1));

  function draw(): void {
    const [first, second, n] = [of(one), of(two), at.value()];
    const fits = isOne(first, second);
    const [a, b] = [kernel(first.taps, 1), kernel(second.taps, 1.5)];
    const whole = joined(first, second);
    const k = taps(a, first, b, second);
    const shorter = reduced(k, whole);
    // On the grid of x↑(u1·u2), every window drawn around its middle.
    const xAt = (i: number): number => i * first.up * second.up;
    const hAt = (m: number): number => second.up * (first.stride * m - first.lo + (first.dilation * (first.taps - 1)) / 2);
    const yAt = (m: number): number => {
      const read = reads({ ...second, up: 1 }, m).map(({ at }) => at / second.up);
      return (hAt(read[0]) + hAt(read[read.length - 1])) / 2;
    };
    const px = (v: number): number => ((v - LEFT) / (RIGHT - LEFT)) * WIDE;
    const rows: [string, number, (i: number) => number][] = [["y", 34, yAt], ["h", 108, hAt], ["x", 182, xAt]];
    const fromY = reads(second, n).map(({ at }) => at);
    const fromH = new Set(fromY.flatMap((m) => reads(first, m).map(({ at }) => at)));
    const lit = [[n], fromY, [...fromH]];
    const line = (x1: number, y1: number, x2: number, y2: number): SVGElement => svg("line", { class: "read", x1: px(x1), y1, x2: px(x2), y2 });
    const lines = [
      ...fromY.map((m) => line(yAt(n), 34, hAt(m), 108)),
      ...fromY.flatMap((m) => reads(first, m).map(({ at }) => line(hAt(m), 108, xAt(at), 182))),
    ];
    const dots = rows.flatMap(([name, y, place], row) => {
      const shown = Array.from({ length: 60 }, (_, i) => i - 20).filter((i) => px(place(i)) > 26 && px(place(i)) < WIDE - 8);
      return [
        svg("text", { class: "row-name", x: 4, y: y + 5 }, name),
        ...shown.map((i) => svg("circle", { class: lit[row].includes(i) ? "sample lit" : "sample", cx: px(place(i)), cy: y, r: lit[row].includes(i) ? 7 : 4.5 })),
      ];
    });
    const places = [...new Set(a.flatMap((_, i) => b.map((_, j) => place(first, second, i, j))))].sort((p, q) => p - q);
    const bars = fits
      ? places.map((at) => whole.stride * n + at - whole.lo).map((p) =>
          svg("rect", { class: p % whole.up === 0 ? "tap-box lit" : "tap-box", x: px(p) - 5, y: 208, width: 10, height: 10 }))
      : [];
    view.replaceChildren(...lines, ...dots, svg("text", { class: "row-name", x: 4, y: 219 }, "K"), ...bars);
    view.setAttribute("aria-label", `y[${n}] reads h at ${fromY.join(", ") || "nothing"}, and through it x at ${[...fromH].sort((p, q) => p - q).join(", ") || "nothing"}`);
    const facts = (label: string, w: Window): HTMLElement =>
      h("tr", {}, h("th", { scope: "row" }, label), ...[w.taps, w.stride, w.dilation, w.up, w.lo].map((v) => h("td", {}, String(v))));
    table.replaceChildren(
      h("caption", { class: "unseen" }, "Windows of A, of B, and of both"),
      h("tr", {}, h("td"), ...["taps k", "stride s", "dilation d", "upsampling u", "padding p"].map((c) => h("th", { scope: "col" }, c))),
      facts("A", first), facts("B", second),
      ...(fits ? [facts("K", whole)] : []),
      ...(fits && shorter.k.length < k.length ? [facts("K, shorter", shorter.window)] : []),
    );
    table.dataset.kernels = JSON.stringify({ a, b, k });
    table.dataset.windows = JSON.stringify({ first, second, whole, fits });
    if (!fits) {
      said.set(`Not one convolution: B upsamples by ${second.up} after A took every ${first.stride}${first.stride === 2 ? "nd" : "rd"} sample, and ${gcd(second.up, first.stride)} divides both. Which samples are read changes from output to output. The library's reason: stride-upsample.`);
      return;
    }
    const inner = (m: number): number => output(x, a, first, m);
    const off = Array.from({ length: 40 }, (_, m) => Math.abs(output(inner, b, second, m) - output(x, k, whole, m))).reduce((p, q) => Math.max(p, q));
    said.set(`Taps at s1·d2·j + u2·d1·i = ${places.join(", ")}. K = (${k.map((v) => text(v)).join(", ")}). Largest difference over 40 outputs of a signal without end: `,
      h("b", { "data-name": "window-off", "data-value": off }, tiny(off)), ".",
      shorter.k.length < k.length ? ` Stride and upsampling share a factor, so only ${shorter.k.length} of the taps ever meet a sample.` : "");
  }

  const knobs = (label: string, of: typeof one): HTMLElement =>
    h("fieldset", {}, h("legend", {}, label), ...Object.values(of).map((s) => s.root));
  root.append(
    h("div", { class: "columns" }, knobs("First layer, A", one), knobs("Second layer, B", two)),
    h("div", { class: "controls" }, at.root),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "What is read, drawn" }, view),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Windows as numbers" }, table), said.root,
  );
  draw();
}

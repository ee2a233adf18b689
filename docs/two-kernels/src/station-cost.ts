// 10: when not to merge.
import { breakEven, compared } from "./cost.ts";
import { h, says, slider, svg } from "./dom.ts";
import { change, count, text } from "./numbers.ts";

const [WIDE, HIGH, MOST] = [560, 240, 128];

export function cost(root: HTMLElement): void {
  const set = (name: string, label: string, range: [number, number, number], v: number): ReturnType<typeof slider> => slider(`cost-${name}`, label, range, v, draw);
  const [i, m, o] = [set("i", "Channels in, I", [1, 128, 1], 16), set("m", "Middle channels, M", [1, MOST, 1], 24), set("o", "Channels out, O", [1, 128, 1], 16)];
  const [k1, k2] = [set("k1", "Kernel k1", [1, 7, 1], 3), set("k2", "Kernel k2", [1, 7, 1], 3)];
  const size = set("size", "Map, size × size", [8, 256, 8], 64);
  const said = says("cost-said");
  const bars = ["apart", "as one"].map((label) => {
    const bar = h("span", { class: "bar" });
    const value = h("span", { class: "bar-value" });
    return { bar, value, root: h("div", { class: "bar-row" }, h("span", { class: "bar-name" }, label), h("span", { class: "bar-track" }, bar), value) };
  });
  const view = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "plot", role: "img" });

  function draw(): void {
    const [I, M, O, a, b, s] = [i, m, o, k1, k2, size].map((one) => one.value());
    const both = compared(I, M, O, a, b, s);
    bars.forEach(({ bar, value }, n) => {
      bar.style.setProperty("--share", String(both[n] / Math.max(...both)));
      bar.classList.toggle("better", both[n] === Math.min(...both));
      value.textContent = count(both[n]);
      value.dataset.value = String(both[n]);
    });
    const even = breakEven(I, O, a, b);
    const [apart, one] = both;
    said.set(one < apart ? "One layer takes fewer multiply-adds: " : one > apart ? "Leave them apart. One layer would take more multiply-adds: " : "It is even: ",
      h("b", { class: "number", "data-name": "cost-change", "data-value": one / apart }, change(apart, one)),
      `. One layer is cheaper when M is above ${text(even, 1)}.`);
    const most = Math.max(compared(I, MOST, O, a, b, s)[0], one) * 1.08;
    const px = (v: number): number => 16 + (v / MOST) * (WIDE - 32);
    const py = (v: number): number => HIGH - 26 - (v / most) * (HIGH - 40);
    view.replaceChildren(
      svg("line", { class: "axis", x1: 16, x2: WIDE - 16, y1: py(0), y2: py(0) }),
      svg("line", { class: "curve", x1: px(0), y1: py(0), x2: px(MOST), y2: py(compared(I, MOST, O, a, b, s)[0]) }),
      svg("line", { class: "guess", x1: px(0), y1: py(one), x2: px(MOST), y2: py(one) }),
      ...(even <= MOST ? [svg("line", { class: "gap", x1: px(even), x2: px(even), y1: py(0), y2: py(one) })] : []),
      svg("circle", { class: "dot", cx: px(M), cy: py(apart), r: 6 }),
      svg("rect", { class: "guessed", x: px(M) - 5, y: py(one) - 5, width: 10, height: 10 }),
      ...[0, 32, 64, 96, 128].map((v) => svg("text", { class: v ? "index" : "index first", x: v ? px(v) : 2, y: HIGH - 6 }, v ? `${v}` : "M = 0")),
    );
    view.setAttribute("aria-label", `Multiply-adds as M grows to ${MOST}: apart they grow with M, as one they stay at ${count(one)}. They meet at M = ${text(even, 1)}.`);
  }

  root.append(h("div", { class: "controls" }, ...[i, m, o, k1, k2, size].map((one) => one.root)),
    h("div", { class: "bars" }, ...bars.map((one) => one.root)), said.root, view,
    h("p", { class: "legend" }, h("span", { class: "key curve-key" }), "apart ", h("span", { class: "key guess-key" }), "as one"));
  draw();
}

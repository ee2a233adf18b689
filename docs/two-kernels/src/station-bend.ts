// 9: break it.
import { bent, straight } from "./bend.ts";
import { h, number, says, slider, svg } from "./dom.ts";

const [WIDE, HIGH, FROM, TO] = [560, 300, -3, 3];

export function bend(root: HTMLElement): void {
  const [x, a, b] = [[1, -0.5, 2, 1.5, -1], [1, -1, 0.5], [1.5, 1, -1]];
  const slope = slider("bend-slope", "Slope below zero", [0, 1, 0.05], 0, draw, (v) => (v === 1 ? "1, no bend" : v === 0 ? "0, ReLU" : v.toFixed(2)));
  const b1 = slider("bend-b1", "Bias b1", [-2, 2, 0.25], 0.5, draw);
  const at = slider("bend-t", "Scale the input by t", [FROM, TO, 0.25], -2, draw);
  const view = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "plot", role: "img" });
  const said = says("bend-said");
  root.dataset.numbers = JSON.stringify({ x, a, b });

  function draw(): void {
    const f = (t: number): number => bent(x.map((v) => v * t), a, b1.value(), slope.value(), b);
    const [zero, one, t] = [f(0), f(1), at.value()];
    const line = (s: number): number => straight(zero, one, s);
    const steps = Array.from({ length: 121 }, (_, n) => FROM + ((TO - FROM) * n) / 120);
    const all = [...steps.map(f), line(FROM), line(TO)];
    const [low, high] = [Math.min(...all) - 1, Math.max(...all) + 1];
    const px = (s: number): number => 20 + ((s - FROM) / (TO - FROM)) * (WIDE - 40);
    const py = (v: number): number => HIGH - 24 - ((v - low) / (high - low)) * (HIGH - 44);
    const gap = Math.abs(f(t) - line(t));
    view.replaceChildren(
      svg("line", { class: "axis", x1: 20, x2: WIDE - 20, y1: py(0), y2: py(0) }),
      svg("line", { class: "axis", x1: px(0), x2: px(0), y1: 20, y2: HIGH - 24 }),
      svg("line", { class: "guess", x1: px(FROM), y1: py(line(FROM)), x2: px(TO), y2: py(line(TO)) }),
      svg("polyline", { class: "curve", points: steps.map((s) => `${px(s)},${py(f(s))}`).join(" ") }),
      svg("line", { class: "gap", x1: px(t), x2: px(t), y1: py(f(t)), y2: py(line(t)) }),
      svg("circle", { class: "given", cx: px(0), cy: py(zero), r: 4 }),
      svg("circle", { class: "given", cx: px(1), cy: py(one), r: 4 }),
      svg("rect", { class: "guessed", x: px(t) - 5, y: py(line(t)) - 5, width: 10, height: 10 }),
      svg("circle", { class: "dot", cx: px(t), cy: py(f(t)), r: 6 }),
      ...[-3, -2, -1, 0, 1, 2, 3].map((s) => svg("text", { class: "index", x: px(s), y: HIGH - 4 }, `${s}`.replace("-", "−"))),
    );
    view.setAttribute("aria-label", `One output as the input is scaled by t from −3 to 3: ${gap < 1e-9 && slope.value() === 1 ? "a straight line" : "a bent line, with the only straight line that is right at 0 and at 1"}`);
    said.set("The two layers give ", number(f(t), "bend-true"), ". One affine layer that is right at t = 0 and t = 1 must give ", number(line(t), "bend-line"),
      ". The gap is ", number(gap, "bend-gap"), slope.value() === 1 ? ": no bend, one kernel." : gap < 1e-9 ? " here; try another t." : ": no single kernel does it.");
  }

  root.append(h("div", { class: "controls" }, slope.root, b1.root, at.root), view,
    h("p", { class: "legend" }, h("span", { class: "key curve-key" }), "the two layers ", h("span", { class: "key guess-key" }), "the only affine guess"), said.root);
  draw();
}

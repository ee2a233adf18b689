// Made from src/ by build.mjs; change those.
"use strict";
(() => {
const $polynomial = (() => {
// One channel, one dimension, no stride, no padding: kernels as polynomials.
/** K[t] = Σ_{i+j=t} A[i]·B[j]: the full convolution, of A.length + B.length − 1 taps. */
function product(a          , b          )           {
  const k           = new Array(a.length + b.length - 1).fill(0);
  a.forEach((x, i) => b.forEach((y, j) => (k[i + j] += x * y)));
  return k;
}
/** The pairs (i, j) with i + j = t: those whose products make K[t]. */
function pairs(t        , taps1        , taps2        )                     {
  const found                     = [];
  for (let i = 0; i < taps1; i++) if (t - i >= 0 && t - i < taps2) found.push([i, t - i]);
  return found;
}
/** C[t] = Σ_i A[i]·B[i − t + k2 − 1]: B slid along A without the flip. It is K with B reversed, not K. */
function unflipped(a          , b          )           {
  return product(a, [...b].reverse());
}
/** y[n] = Σ_t K[t]·x[n + t]: a layer, as PyTorch's Conv1d without bias. */
function correlate(x          , k          )           {
  const y           = [];
  for (let n = 0; n + k.length <= x.length; n++) y.push(k.reduce((sum, v, t) => sum + v * x[n + t], 0));
  return y;
}
/** max |a − b|; infinite where the lengths differ. */
function difference(a          , b          )         {
  if (a.length !== b.length) return Infinity;
  return a.reduce((most, v, n) => Math.max(most, Math.abs(v - b[n])), 0);
}
return { product, pairs, unflipped, correlate, difference };
})();
const $bend = (() => {
// What a non-linearity does to the argument: f(t·x) is no straight line in t any more.
const { correlate } = $polynomial;
/** v where v ≥ 0, slope·v below: ReLU at slope 0, nothing at slope 1. */
function leaky(v        , slope        )         {
  return v >= 0 ? v : slope * v;
}
/** One output of: kernel A and bias b1, the bend, kernel B; on the window x of A.length + B.length − 1 samples. */
function bent(x          , a          , b1        , slope        , b          )         {
  const h = correlate(x, a).map((v) => leaky(v + b1, slope));
  return correlate(h, b)[0];
}
/** f(0) + t·(f(x) − f(0)): the only values an affine f could have at t·x. */
function straight(atZero        , atOne        , t        )         {
  return atZero + t * (atOne - atZero);
}
return { leaky, bent, straight };
})();
const $numbers = (() => {
// Numbers as people read them, and numbers to begin with.
/** Two decimals at most, a real minus sign: −0.25, 3, 1.5. */
function text(v        , digits = 2)         {
  const rounded = Number(v.toFixed(digits));
  return String(rounded === 0 ? 0 : rounded).replace("-", "−");
}
/** A difference: 0 where it is 0, two digits and a power of ten else. */
function tiny(v        )         {
  return v === 0 ? "0" : v >= 0.01 ? text(v, 3) : v.toExponential(1).replace("e", " · 10^").replace("-", "−");
}
/** With its SI prefix: 7.35 G, 651 M, 131. */
function count(v        )         {
  for (const [size, prefix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]                      )
    if (Math.abs(v) >= size) return `${Number((v / size).toPrecision(3))} ${prefix}`.replace("-", "−");
  return text(v, 0);
}
/** A percentage change with its sign: −24.4 %. */
function change(before        , after        )         {
  if (before === 0) return "";
  const percent = (100 * (after - before)) / before;
  return `${percent > 0 ? "+" : percent < 0 ? "−" : ""}${Math.abs(percent).toFixed(1)} %`;
}
/** Pseudo-random multiples of 1/4 in ±`most`: sums and products of such are exact in float64. */
function quarters(seed        , most = 2)               {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return Math.round((((z ^ (z >>> 14)) >>> 0) / 2 ** 32) * 8 * most - 4 * most) / 4;
  };
}
return { text, tiny, count, change, quarters };
})();
const $dom = (() => {
// Elements, and the controls every station is made of. Each works by pointer and by keyboard.
const { text } = $numbers;
function fill                   (element   , attributes            , children         )    {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child)                         => child !== null));
  return element;
}
/** An HTML element; functions among its attributes listen to the event of that name. */
function h(tag        , attributes             = {}, ...children         )              {
  return fill(document.createElement(tag), attributes, children);
}
/** An SVG element. */
function svg(tag        , attributes             = {}, ...children         )             {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag)              , attributes, children);
}
let ids = 0;
/** An id that nothing else has. */
function newId()         {
  return `id${++ids}`;
}
/** A labelled <input type="range">. `name` finds it in tests and scripts. */
function slider(
  name        , label        , [least, most, step]                          , value        ,
  changed            , say                        = text,
)         {
  const id = newId();
  const shown = h("span", { class: "value", "aria-hidden": "true" });
  const input = h("input", { id, type: "range", min: least, max: most, step, value, "data-name": name })                    ;
  const show = ()       => {
    shown.textContent = say(Number(input.value));
    input.setAttribute("aria-valuetext", say(Number(input.value)));
    input.style.setProperty("--at", `${(100 * (Number(input.value) - least)) / (most - least)}%`);
  };
  input.addEventListener("input", () => (show(), changed()));
  show();
  return {
    root: h("div", { class: "slider" }, h("label", { for: id }, label), input, shown),
    value: () => Number(input.value),
    set: (v) => ((input.value = String(v)), show()),
  };
}
/** A labelled check box. */
function check(name        , label        , on         , changed                       )              {
  const input = h("input", { type: "checkbox", checked: on, "data-name": name })                    ;
  input.addEventListener("change", () => changed(input.checked));
  return h("label", { class: "check" }, input, h("span", {}, label));
}
function button(name        , label        , pressed            )              {
  return h("button", { type: "button", class: "button", "data-name": name, click: pressed }, label);
}
/** What a station says: the number to watch. Read out when it changes. */
function says(name        )                                                             {
  const root = h("p", { class: "says", role: "status", "data-name": name });
  return {
    root,
    set: (...children) => {
      const next = h("p", {}, ...children);
      if (next.innerHTML !== root.innerHTML) root.replaceChildren(...next.childNodes);
    },
  };
}
/** A number for tests and scripts in full, for people in two decimals. */
function number(v        , name        , digits = 2)              {
  return h("b", { class: "number", "data-name": name, "data-value": v }, text(v, digits));
}
/** Tone and strength of a value: its sign and its size relative to `most`. */
function tone(element         , v        , most        )       {
  element.classList.toggle("pos", v > 0);
  element.classList.toggle("neg", v < 0);
  (element               ).style.setProperty("--m", String(Math.min(1, Math.abs(v) / most) ** 0.75));
}
/** Dragging up and down: `changed` gets the number of steps since the pointer went down, one per `pixels`. */
function draggable(element         , begin            , changed                         , pixels        )       {
  element.addEventListener("pointerdown", (event) => {
    const { pointerId, clientY, button } = event                ;
    if (button !== 0) return;
    event.preventDefault();
    (element               ).focus({ preventScroll: true });
    element.setPointerCapture(pointerId);
    element.classList.add("dragged");
    begin();
    let last = 0;
    const move = (e       )       => {
      const steps = Math.round((clientY - (e                ).clientY) / pixels);
      if (steps !== last) changed((last = steps));
    };
    const stop = ()       => {
      element.classList.remove("dragged");
      element.removeEventListener("pointermove", move);
    };
    element.addEventListener("pointermove", move);
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"])
      element.addEventListener(name, stop, { once: true });
  });
}
/** One Tab stop for many elements: ← and → (and Home, End) move among them. */
function roving(elements                              )       {
  elements.forEach((element, n) => {
    element.setAttribute("tabindex", n === 0 ? "0" : "-1");
    element.addEventListener("keydown", (event) => {
      const by                            = { ArrowLeft: n - 1, ArrowRight: n + 1, Home: 0, End: elements.length - 1 };
      const to = elements[by[(event                 ).key]];
      if (by[(event                 ).key] === undefined) return;
      event.preventDefault();
      to?.focus();
    });
    element.addEventListener("focus", () =>
      elements.forEach((other) => other.setAttribute("tabindex", other === element ? "0" : "-1")),
    );
  });
}
return { h, svg, newId, slider, check, button, says, number, tone, draggable, roving };
})();
const $station_bend = (() => {
// 9: break it.
const { bent, straight } = $bend;
const { h, number, says, slider, svg } = $dom;
const [WIDE, HIGH, FROM, TO] = [560, 300, -3, 3];
function bend(root             )       {
  const [x, a, b] = [[1, -0.5, 2, 1.5, -1], [1, -1, 0.5], [1.5, 1, -1]];
  const slope = slider("bend-slope", "Slope below zero", [0, 1, 0.05], 0, draw, (v) => (v === 1 ? "1, no bend" : v === 0 ? "0, ReLU" : v.toFixed(2)));
  const b1 = slider("bend-b1", "Bias b1", [-2, 2, 0.25], 0.5, draw);
  const at = slider("bend-t", "Scale the input by t", [FROM, TO, 0.25], -2, draw);
  const view = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "plot", role: "img" });
  const said = says("bend-said");
  root.dataset.numbers = JSON.stringify({ x, a, b });
  function draw()       {
    const f = (t        )         => bent(x.map((v) => v * t), a, b1.value(), slope.value(), b);
    const [zero, one, t] = [f(0), f(1), at.value()];
    const line = (s        )         => straight(zero, one, s);
    const steps = Array.from({ length: 121 }, (_, n) => FROM + ((TO - FROM) * n) / 120);
    const all = [...steps.map(f), line(FROM), line(TO)];
    const [low, high] = [Math.min(...all) - 1, Math.max(...all) + 1];
    const px = (s        )         => 20 + ((s - FROM) / (TO - FROM)) * (WIDE - 40);
    const py = (v        )         => HIGH - 24 - ((v - low) / (high - low)) * (HIGH - 44);
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
return { bend };
})();
const $grid = (() => {
// One channel, two dimensions: kernels and images as rows of numbers.
/** Rows × columns of what `value` says. */
function grid(rows        , columns        , value                                   = () => 0)       {
  return Array.from({ length: rows }, (_, r) => Array.from({ length: columns }, (_, c) => value(r, c)));
}
/** K[r, c] = Σ A[r1, c1]·B[r2, c2] over r1 + r2 = r, c1 + c2 = c: the full convolution. */
function compose(a      , b      )       {
  const k = grid(a.length + b.length - 1, a[0].length + b[0].length - 1);
  a.forEach((row, r1) =>
    row.forEach((x, c1) => b.forEach((row2, r2) => row2.forEach((y, c2) => (k[r1 + r2][c1 + c2] += x * y)))),
  );
  return k;
}
/** The pairs ((r1, c1), (r2, c2)) of cells of A and B whose products make K[r, c]. */
function parents(r        , c        , a      , b      )                                     {
  const found                                     = [];
  a.forEach((row, r1) =>
    row.forEach((_, c1) => {
      if (b[r - r1]?.[c - c1] !== undefined) found.push([r1, c1, r - r1, c - c1]);
    }),
  );
  return found;
}
/** y[r, c] = b + Σ K[i, j]·x[r + i − pad, c + j − pad], zeros beyond the image: as PyTorch's Conv2d, stride 1. */
function layer(x      , k      , bias = 0, pad = 0)       {
  const [rows, columns, high, wide] = [x.length, x[0].length, k.length, k[0].length];
  return grid(rows + 2 * pad - high + 1, columns + 2 * pad - wide + 1, (r, c) => {
    let sum = bias;
    for (let i = 0; i < high; i++) {
      const row = x[r + i - pad];
      if (row === undefined) continue;
      for (let j = 0; j < wide; j++) {
        const at = c + j - pad;
        if (at >= 0 && at < columns) sum += k[i][j] * row[at];
      }
    }
    return sum;
  });
}
/** a − b, cell by cell. */
function minus(a      , b      )       {
  return a.map((row, r) => row.map((v, c) => v - b[r][c]));
}
/** a + b, cell by cell. */
function plus(a      , b      )       {
  return a.map((row, r) => row.map((v, c) => v + b[r][c]));
}
/** max |cell|. */
function largest(a      )         {
  return a.reduce((most, row) => row.reduce((m, v) => Math.max(m, Math.abs(v)), most), 0);
}
/** The sum of all cells. */
function total(a      )         {
  return a.reduce((sum, row) => row.reduce((s, v) => s + v, sum), 0);
}
return { grid, compose, parents, layer, minus, plus, largest, total };
})();
const $bias = (() => {
// A bias is a constant map, and every window of a constant map sums to the same number.
const { total } = $grid;
/** b = b2 + Σ_m b1[m]·Σ_t B[m, t]: what the merged layer adds, for one output channel. */
function merged(b1          , b        , b2        )         {
  return b1.reduce((sum, bias, m) => sum + bias * total(b[m]), b2);
}
return { merged };
})();
const $cells = (() => {
// A kernel as a grid of numbers: to read, to change (drag a cell, or ↑ and ↓) or to point at.
const { draggable, h, roving, tone } = $dom;
const { text } = $numbers;
/** `name` finds it in tests; `label` says what it is to a screen reader. */
function cells(name        , label        , values      , options          = {})        {
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
        const to = (v        )       => {
          const kept = Math.max(-most, Math.min(most, v));
          if (kept !== now[r][c]) edit(r, c, kept);
        };
        let from = 0;
        draggable(cell, () => (from = now[r][c]), (steps) => to(from + steps * step), 7);
        cell.addEventListener("keydown", (event) => {
          const by                            = { ArrowUp: step, ArrowDown: -step, PageUp: 4 * step, PageDown: -4 * step };
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
  const set = (next      )       => {
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
return { cells };
})();
const $station_bias = (() => {
// 5: the bias is a constant map.
const { merged } = $bias;
const { cells } = $cells;
const { h, number, says, slider } = $dom;
const { grid, layer, plus, total } = $grid;
const { text } = $numbers;
function bias(root             )       {
  const kernels = [[[0.5, 1, 0], [-1, 0.75, 0.25], [0, 1, -0.5]], [[0, -0.5, 0.5], [1, -1.5, 0], [0.25, 0, 0.5]]];
  const b1 = [0, 1].map((m) => slider(`bias-b1-${m}`, `b1[${m}], bias of middle channel ${m}`, [-2, 2, 0.25], [1.5, -1][m], draw));
  const b2 = slider("bias-b2", "b2, bias of the second layer", [-2, 2, 0.25], 0.5, draw);
  const at = slider("bias-at", "Move the window", [0, 8, 1], 4, draw, (v) => `row ${Math.floor(v / 3)}, column ${v % 3}`);
  const maps = [0, 1].map((m) => cells(`bias-map-${m}`, `constant map ${m}`, grid(5, 5), { most: 4, small: true, caption: `h${m} = b1[${m}]` }));
  const edit = (m        ) => (r        , c        , v        )       => {
    kernels[m] = kernels[m].map((row, i) => row.map((old, j) => (i === r && j === c ? v : old)));
    draw();
  };
  const shown = [0, 1].map((m) => cells(`bias-kernel-${m}`, `kernel B[${m}]`, kernels[m], { edit: edit(m), most: 2, small: true, caption: `B[${m}]` }));
  const out = cells("bias-out", "output", grid(3, 3), { most: 6, small: true, caption: "output" });
  const said = says("bias-sum");
  function draw()       {
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
    const signed = (v        )         => (v < 0 ? `(${text(v)})` : text(v));
    const terms = biases.map((v, m) => `${signed(v)} · ${signed(total(kernels[m]))}`);
    said.set(`b = b2 + Σ b1[m]·ΣB[m] = ${text(b2.value())} + ${terms.join(" + ")} = `, number(merged(biases, kernels, b2.value()), "bias-b"), ", the same in every window.");
  }
  const line = (m        )              =>
    h("div", { class: "row tight" }, maps[m].root, h("span", { class: "sign", "aria-hidden": "true" }, "∗"), shown[m].root);
  root.append(
    h("div", { class: "controls" }, ...b1.map((s) => s.root), b2.root, at.root),
    h("div", { class: "row equation" }, h("div", { class: "stack" }, line(0), line(1)),
      h("span", { class: "sign", "aria-hidden": "true" }, "+ b2 ="), out.root),
    said.root,
  );
  draw();
}
return { bias };
})();
const $border = (() => {
// Two padded layers on an image that ends. First: A, bias b1, padding p1. Second: B, bias b2, padding p2. Stride 1.
const { compose, grid, layer, total } = $grid;
/** How many rows (columns) of B lie beyond the first layer's output: at its low end, at its high end. */
/** The two layers run in turn: what is true. */
function inTurn(x      , { a, b1, p1, b, b2, p2 }      )       {
  return layer(layer(x, a, b1, p1), b, b2, p2);
}
/** One layer, kernel A * B, padding p1 + p2, bias b2 + b1·ΣB: wrong on the ring that reads ghosts. */
function naive(x      , pair      )       {
  const { kernel, bias } = piece(pair, { top: 0, bottom: 0, left: 0, right: 0 });
  return layer(x, kernel, bias, pair.p1 + pair.p2);
}
/**
 * The kernel and bias of the outputs whose window is cut like this: B keeps only the rows and columns that lie inside,
 * and is then composed as everywhere. K_cut = A * B_cut, b_cut = b2 + b1·ΣB_cut.
 */
function piece({ a, b1, b, b2 }      , cut     )                                 {
  const [high, wide] = [b.length, b[0].length];
  const kept = b.map((row, r) =>
    row.map((v, c) => (r >= cut.top && r < high - cut.bottom && c >= cut.left && c < wide - cut.right ? v : 0)),
  );
  return { kernel: compose(a, kept), bias: b2 + b1 * total(kept) };
}
/** How the window of output (r, c) is cut, for an image of so many rows and columns. */
function cutAt({ a, p1, b, p2 }      , rows        , columns        , r        , c        )      {
  const [high, wide] = [rows + 2 * p1 - a.length + 1, columns + 2 * p1 - a[0].length + 1]; // of the first's output
  const beyond = (n        )         => Math.max(0, n);
  return {
    top: beyond(p2 - r),
    bottom: beyond(r - p2 + b.length - high),
    left: beyond(p2 - c),
    right: beyond(c - p2 + b[0].length - wide),
  };
}
/** One kernel for the interior and one of its own for every way a window is cut: right everywhere. */
function exact(x      , pair      )       {
  const { p1, p2, a, b } = pair;
  const [rows, columns] = [x.length, x[0].length];
  const pad = p1 + p2;
  const known = new Map                                        ();
  const out = (size        , k        )         => size + 2 * pad - k + 1;
  return grid(out(rows, a.length + b.length - 1), out(columns, a[0].length + b[0].length - 1), (r, c) => {
    const cut = cutAt(pair, rows, columns, r, c);
    const key = `${cut.top},${cut.bottom},${cut.left},${cut.right}`;
    const here = known.get(key) ?? piece(pair, cut);
    known.set(key, here);
    let sum = here.bias;
    here.kernel.forEach((row, i) => row.forEach((v, j) => (sum += v * (x[r + i - pad]?.[c + j - pad] ?? 0))));
    return sum;
  });
}
return { inTurn, naive, piece, cutAt, exact };
})();
const $station_border = (() => {
// 7: the border.
const { cutAt, exact, inTurn, naive, piece } = $border;
const { cells } = $cells;
const { h, number, roving, says, slider, svg, tone } = $dom;
const { grid, largest, minus } = $grid;
const { quarters, text, tiny } = $numbers;
const [SIZE, FRAME] = [7, 13.4]; // of the picture; of a frame, in pixels of it
/** What a piece is called, by how its window is cut. */
function named(top        , left        , p2        )         {
  const row = top === 0 ? "" : top < 0 ? "top" : "bottom";
  const column = left === 0 ? "" : left < 0 ? "left" : "right";
  const which = row && column ? `${row} ${column} corner` : row || column ? `${row || column} edge` : "interior";
  const deep = [top, left].filter((n) => n !== 0).map((n) => Math.abs(n));
  return p2 > 1 && deep.length ? `${which}, ${deep.join(" and ")} cut` : which;
}
function border(root             )       {
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
  let at                   = [-1, -1]; // the piece shown: rows cut at the top (< 0) or bottom, columns likewise
  let shown                            = {};
  let minis                                                                             = [];
  let large               = null;
  const pair = ()       => ({ a, b1: b1.value(), p1: p1.value(), b, b2: 0.5, p2: p2.value() });
  const cut = (top        , left        )                                                               => ({
    top: Math.max(0, -top), bottom: Math.max(0, top), left: Math.max(0, -left), right: Math.max(0, left),
  });
  function rebuild()       {
    const now = pair();
    const y = inTurn(x, now);
    frames[0].draw(SIZE, now.p1);
    frames[1].draw(SIZE + 2 * now.p1 - 2, now.p2);
    const pick = (r        , c        )       => {
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
  function frame(label        , knob           , ring        )                                                                  {
    const picture = svg("svg", { class: "frame", "aria-hidden": "true" });
    const note = h("figcaption", {}, label);
    let inner = SIZE;
    const move = (event              )       => {
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
      picture.setPointerCapture((event                ).pointerId);
      move(event                );
    });
    picture.addEventListener("pointermove", (event) => {
      if (picture.hasPointerCapture((event                ).pointerId)) move(event                );
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
  function choose(top        , left        )       {
    if (at[0] === top && at[1] === left) return;
    at = [top, left];
    mark();
  }
  function draw()       {
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
  function mark()       {
    const now = pair();
    for (const m of minis) {
      const on = m.top === at[0] && m.left === at[1];
      m.element.classList.toggle("marked", on);
      m.element.setAttribute("aria-pressed", String(on));
    }
    const belongs = (r        , c        )         => {
      const here = cutAt(now, SIZE, SIZE, r, c);
      return here.bottom - here.top === at[0] && here.right - here.left === at[1] ? " " : "";
    };
    shown.naive.mark(belongs);
    shown.exact.mark(belongs);
    const { kernel, bias } = piece(now, cut(...at));
    large?.set(kernel);
    told.set(h("strong", {}, named(...at, now.p2)), ": this kernel, and the bias ", number(bias, "border-bias"), ".");
  }
  const edit = (of           ) => (r        , c        , v        )       => {
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
  root.dataset.picture = JSON.stringify(x        );
  rebuild();
}
return { border };
})();
const $branches = (() => {
// Branches that are added, each with its batch norm: one kernel and one bias.
const { grid, plus } = $grid;
/** g = γ / √(σ² + ε): what a batch norm in eval mode multiplies by. */
function scale({ gamma, variance, eps }      )         {
  return gamma / Math.sqrt(variance + eps);
}
/** A kernel without bias, then a batch norm: kernel g·K, bias β − g·μ. */
function folded(kernel      , norm      )                                 {
  const g = scale(norm);
  return { kernel: kernel.map((row) => row.map((v) => g * v)), bias: norm.beta - g * norm.mean };
}
/** The same kernel in the middle of zeros, of an odd size: with `size`/2 of padding it computes the same. */
function centred(kernel      , size        )       {
  const shift = (size - kernel.length) / 2;
  return grid(size, size, (r, c) => kernel[r - shift]?.[c - shift] ?? 0);
}
/** Parallel branches add: K = ΣK_n, b = Σb_n. */
function sum(parts                                  , size        )                                 {
  return parts.reduce((all, part) => ({ kernel: plus(all.kernel, part.kernel), bias: all.bias + part.bias }), {
    kernel: grid(size, size),
    bias: 0,
  });
}
return { scale, folded, centred, sum };
})();
const $station_branches = (() => {
// 8: branches and batch norms.
const { centred, folded, scale, sum } = $branches;
const { cells } = $cells;
const { check, h, number, says, slider } = $dom;
const { grid, largest, layer, minus, plus } = $grid;
const { quarters, text } = $numbers;
function branches(root             )       {
  const kernels         = [[[0.5, -1, 0], [1, 1.5, -0.5], [0, 0.25, 1]], [[1.25]], [[1]]];
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
  const norm = (n        )       => ({ gamma: rows[n].gamma.value(), variance: rows[n].variance.value(), eps: 1e-5, ...fixed[n] });
  function draw()       {
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
return { branches };
})();
const $channels = (() => {
// Many channels, one dimension: kernels as matrices of polynomials.
const { product } = $polynomial;
/** [out][in][tap], PyTorch's layout. */
/** K[o, i] = Σ_m B[o, m] * A[m, i], a product of matrices whose entries are kernels, multiplied as polynomials. */
function multiply(b        , a        )         {
  return b.map((row) =>
    a[0].map((_, i) => {
      const terms = row.map((entry, m) => product(entry, a[m][i]));
      return terms.reduce((sum, term) => sum.map((v, t) => v + term[t]));
    }),
  );
}
return { multiply };
})();
const $station_channels = (() => {
// 4: many channels.
const { cells } = $cells;
const { multiply } = $channels;
const { button, h, number, says, slider } = $dom;
const { quarters, text } = $numbers;
const { product } = $polynomial;
function channels(root             )       {
  const next = quarters(3, 1.5);
  const fresh = (rows        , columns        )         =>
    Array.from({ length: rows }, () => Array.from({ length: columns }, () => [next(), next()]));
  let [b, a] = [fresh(4, 4), fresh(4, 4)];
  let at                   = [0, 1];
  const sliders = [
    slider("channels-o", "Channels out, O", [1, 3, 1], 2, build),
    slider("channels-m", "Middle channels, M", [1, 4, 1], 3, build),
    slider("channels-i", "Channels in, I", [1, 3, 1], 2, build),
  ];
  const place = h("div", { class: "row equation matrices" });
  const made = says("channels-terms");
  let shown                                = {};
  const cut = ()                   => {
    const [o, m, i] = sliders.map((s) => s.value());
    return [b.slice(0, o).map((row) => row.slice(0, m)), a.slice(0, m).map((row) => row.slice(0, i))];
  };
  function matrix(name        , k        , edit                                                       )              {
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
  function build()       {
    const [kb, ka] = cut();
    at = [Math.min(at[0], kb.length - 1), Math.min(at[1], ka[0].length - 1)];
    const set = (of        ) => (r        , c        , t        , v        )       => {
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
  function draw()       {
    const [kb, ka] = cut();
    for (const [name, k] of [["B", kb], ["A", ka], ["K", multiply(kb, ka)]]                      )
      k.forEach((row, r) => row.forEach((entry, c) => shown[name][r][c].set([[...entry]])));
    mark();
  }
  function mark()       {
    const [kb, ka] = cut();
    const [o, i] = at;
    const on = (yes         ) => ()         => (yes ? " " : "");
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
return { channels };
})();
const $cost = (() => {
// Multiply-adds, which decide whether two layers should be one.
/** out · (in / groups) · Πkernel · Πsize multiply-adds of a convolution with an output of this size. */
function macs(inputs        , outputs        , kernel          , size          , groups = 1)         {
  return [...kernel, ...size].reduce((all, n) => all * n, (inputs / groups) * outputs);
}
/** Two square kernels on maps of `size`², kept at that size: I → M → O channels, apart and as one. */
function compared(i        , m        , o        , k1        , k2        , size        )                   {
  const [map, k] = [[size, size], k1 + k2 - 1];
  const apart = macs(i, m, [k1, k1], map) + macs(m, o, [k2, k2], map);
  return [apart, macs(i, o, [k, k], map)];
}
/** M* = I·O·(k1 + k2 − 1)² / (I·k1² + O·k2²): with more middle channels than this, one layer is cheaper. */
function breakEven(i        , o        , k1        , k2        )         {
  return (i * o * (k1 + k2 - 1) ** 2) / (i * k1 ** 2 + o * k2 ** 2);
}
return { macs, compared, breakEven };
})();
const $station_cost = (() => {
// 10: when not to merge.
const { breakEven, compared } = $cost;
const { h, says, slider, svg } = $dom;
const { change, count, text } = $numbers;
const [WIDE, HIGH, MOST] = [560, 240, 128];
function cost(root             )       {
  const set = (name        , label        , range                          , v        )                            => slider(`cost-${name}`, label, range, v, draw);
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
  function draw()       {
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
    const px = (v        )         => 16 + (v / MOST) * (WIDE - 32);
    const py = (v        )         => HIGH - 26 - (v / most) * (HIGH - 40);
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
return { cost };
})();
const $shared = (() => {
// The two kernels of stations 1 and 2, which are the same two.
const two = { a: [1, 2, -1], b: [0.5, -1, 1.5] };
const watching                 = [];
/** Call this whenever the two change; and now. */
function watch(changed            )       {
  watching.push(changed);
  changed();
}
/** Say that they changed. */
function changed()       {
  watching.forEach((tell) => tell());
}
return { two, watch, changed };
})();
const $station_flip = (() => {
// 2: the flip.
const { check, h, number, says, slider, tone } = $dom;
const { text } = $numbers;
const { product, unflipped } = $polynomial;
const { two, watch } = $shared;
function flip(root             )       {
  let flipped = true;
  const table = h("table", { class: "slide" });
  const result = h("table", { class: "slide" });
  const said = says("flip-said");
  const where = h("div");
  let place = slider("flip-t", "Slide B to t", [0, 4, 1], 1, draw);
  where.append(place.root);
  function cell(v               , mark = false)              {
    const one = h("td", { class: `cell${mark ? " marked" : ""}` }, v === null ? "" : text(v));
    if (v !== null) {
      one.dataset.value = String(v);
      tone(one, v, 3);
    } else one.classList.add("empty");
    return one;
  }
  function draw()       {
    const { a, b } = two;
    const [whole, other] = [product(a, b), unflipped(a, b)];
    const t = Math.min(place.value(), whole.length - 1);
    const margin = b.length - 1;
    const columns = Array.from({ length: a.length + 2 * margin }, (_, n) => n - margin);
    const low = t - margin; // where the first of B's places is
    const sits = (i        )                => (i < low || i > t ? null : flipped ? b[t - i] : b[i - low]);
    const row = (label        , values                   , mark = (_        )          => false)              =>
      h("tr", {}, h("th", { scope: "row" }, label), ...values.map((v, n) => cell(v, mark(n))));
    const under = columns.map((i) => (a[i] !== undefined && sits(i) !== null ? a[i] * (sits(i) ?? 0) : null));
    table.replaceChildren(
      h("caption", { class: "unseen" }, "A, B slid along it, and their products"),
      row("A", columns.map((i) => a[i] ?? null)),
      row(flipped ? "B, flipped" : "B, as it is", columns.map(sits)),
      row("products", under),
    );
    const sum = under.reduce        ((s, v) => s + (v ?? 0), 0);
    said.set(`The products add up to `, number(sum, "flip-sum"), `. K[${t}] is `, number(whole[t], "flip-k"),
      Math.abs(sum - whole[t]) < 1e-12 ? ": the same." : ": not the same. Without the flip, this is another kernel.");
    result.replaceChildren(
      h("caption", { class: "unseen" }, "What sliding gives at every t, and K"),
      h("tr", {}, h("th", { scope: "row" }, "t"), ...whole.map((_, n) => h("th", { scope: "col" }, String(n)))),
      row(flipped ? "slid, flipped" : "slid, not flipped", flipped ? whole : other, (n) => n === t),
      row("K", whole, (n) => n === t),
    );
    result.dataset.values = JSON.stringify(flipped ? whole : other);
  }
  root.append(
    h("div", { class: "controls" }, where, check("flip", "Flip B", true, (on) => ((flipped = on), draw()))),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "B slid along A" }, table),
    said.root,
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "The results at every t" }, result),
  );
  watch(() => {
    const most = two.a.length + two.b.length - 2;
    if (Number(where.querySelector("input")?.max) !== most) {
      place = slider("flip-t", "Slide B to t", [0, Math.max(most, 1), 1], Math.min(place.value(), most), draw);
      where.replaceChildren(place.root);
    }
    draw();
  });
}
return { flip };
})();
const $station_image = (() => {
// 3: two dimensions, on a picture.
const { cells } = $cells;
const { button, check, h, number, says } = $dom;
const { compose, grid, largest, layer, minus, parents } = $grid;
const { quarters, text, tiny } = $numbers;
const SIZE = 44;
/** A picture of whole numbers: rings, an edge and a ramp. */
function picture()       {
  return grid(SIZE, SIZE, (r, c) => {
    const d = Math.hypot(r - 18, c - 17);
    const ring = d < 5 || (d > 9 && d < 13) ? 120 : 0;
    const bar = c > 30 && c < 35 && r > 6 ? 90 : 0;
    return Math.min(255, 30 + ring + bar + (r > 34 ? 80 : 0) + 2 * c);
  });
}
const KERNELS                           = {
  blur: grid(3, 3, (r, c) => [1, 2, 1][r] * [1, 2, 1][c] / 16),
  edge: [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
  sharpen: [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
  shift: [[0, 0, 0], [0, 0, 0], [0, 0, 1]],
};
/** Grey from low to high; a difference instead from nothing to orange. */
function paint(canvas                   , image      , low        , high        , isDifference = false)       {
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
function image(root             )       {
  let [a, b] = [KERNELS.blur, KERNELS.edge];
  let nudged = false;
  let at                   = [1, 2];
  const x = picture();
  const edit = (which           ) => (r        , c        , v        )       => {
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
    const canvas = h("canvas", { class: n === 3 ? "view zero" : "view", role: "img", "aria-label": label })                     ;
    const caption = h("figcaption", {}, label);
    return { canvas, caption, root: h("figure", {}, canvas, caption) };
  });
  function mark()       {
    const found = parents(at[0], at[1], a, b);
    const name = (n        )         => String.fromCharCode(97 + n);
    const mark = (r        , c        , first        )         => {
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
  function draw()       {
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
  const random = ()       => grid(3, 3, () => next());
  const choose = (label        , of        , made            , set                   )              =>
    button(`image-${of}-${label}`, label, () => (set(made()), draw()));
  const presets = (of        , set                   )              =>
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
return { picture, image };
})();
const $taps = (() => {
// A one-dimensional kernel as stems: drag a dot, or use the arrow keys on it.
const { draggable, h, svg } = $dom;
const { text } = $numbers;
const [WIDE, HIGH, HALF] = [46, 176, 62]; // of a tap, of the picture, of the longest stem
/** Stems of `name`, between −most and most. */
function taps(name        , values          , { edit, pick, most }         )       {
  const picture = svg("svg", { class: `taps ${edit ? "editable" : ""}`, role: "group", "aria-label": name });
  const root = h("div", { class: "stems", "data-name": name }, h("div", { class: "caption", "aria-hidden": "true" }, name), picture);
  let now = values;
  let marked                         = () => false;
  const y = (v        )         => HIGH / 2 - (HALF * v) / (edit ? most : Math.max(most, ...now.map(Math.abs)));
  const stem = (n        )             => {
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
      const to = (v        )       => {
        const kept = Math.max(-most, Math.min(most, v));
        if (kept !== now[n]) edit(n, kept);
      };
      let [from, step] = [0, 1];
      const begin = ()       => {
        from = now[n];
        step = picture.getBoundingClientRect().height / HIGH; // pixels for a unit of the picture
      };
      draggable(tap, begin, (pixels) => to(Math.round(4 * (from + (pixels / step / HALF) * most)) / 4), 1);
      tap.addEventListener("keydown", (event) => {
        const by                            = {
          ArrowUp: 0.25, ArrowRight: 0.25, ArrowDown: -0.25, ArrowLeft: -0.25, PageUp: 1, PageDown: -1, Home: -99, End: 99,
        };
        const step = by[(event                 ).key];
        if (step === undefined) return;
        event.preventDefault();
        to(now[n] + step);
      });
    }
    if (pick) for (const event of ["pointerenter", "focus", "click"]) tap.addEventListener(event, () => pick(n));
    return tap;
  };
  const set = (next          )       => {
    if (picture.querySelectorAll(".tap").length !== next.length) {
      picture.setAttribute("viewBox", `0 0 ${WIDE * next.length} ${HIGH}`);
      picture.style.setProperty("--taps", String(next.length));
      const axis = svg("line", { class: "axis", x1: 0, x2: WIDE * next.length, y1: HIGH / 2, y2: HIGH / 2 });
      picture.replaceChildren(axis, ...next.map((_, n) => stem(n)));
    }
    now = next;
    picture.querySelectorAll            (".tap").forEach((tap, n) => {
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
return { taps };
})();
const $station_product = (() => {
// 1: two polynomials.
const { button, h, number, says } = $dom;
const { quarters, text, tiny } = $numbers;
const { correlate, difference, pairs, product } = $polynomial;
const { changed, two, watch } = $shared;
const { taps } = $taps;
const SUPERSCRIPT = ["", "z", "z²", "z³", "z⁴", "z⁵", "z⁶", "z⁷", "z⁸"];
function polynomial(k          )         {
  const terms = k.flatMap((v, n) => (v === 0 ? [] : [{ v, z: SUPERSCRIPT[n] }]));
  if (!terms.length) return "0";
  return terms
    .map(({ v, z }, n) => {
      const size = Math.abs(v) === 1 && z ? "" : text(Math.abs(v));
      return `${n ? (v < 0 ? " − " : " + ") : v < 0 ? "−" : ""}${size}${z}`;
    })
    .join("");
}
function product1(root             )       {
  let picked = 2;
  const pick = (t        )       => {
    picked = t;
    draw();
  };
  const edit = (of           ) => (n        , v        )       => {
    two[of] = two[of].map((old, m) => (m === n ? v : old));
    changed();
  };
  const a = taps("A", two.a, { edit: edit("a"), most: 3 });
  const b = taps("B", two.b, { edit: edit("b"), most: 3 });
  const k = taps("K", product(two.a, two.b), { pick, most: 3 });
  const table = h("table", { class: "scheme" });
  const made = says("product-pairs");
  const check = says("product-check");
  const written = h("p", { class: "written" });
  const length = (of           , by        )       => {
    const list = two[of];
    if (by > 0 && list.length < 5) two[of] = [...list, 1];
    if (by < 0 && list.length > 1) two[of] = list.slice(0, -1);
    changed();
  };
  const next = quarters(7);
  const signal = Array.from({ length: 32 }, () => next());
  function draw()       {
    const whole = product(two.a, two.b);
    picked = Math.min(picked, whole.length - 1);
    const from = pairs(picked, two.a.length, two.b.length);
    a.set(two.a);
    b.set(two.b);
    k.set(whole);
    a.mark((n) => from.some(([i]) => i === n));
    b.mark((n) => from.some(([, j]) => j === n));
    k.mark((n) => n === picked);
    table.replaceChildren(
      h("caption", {}, "Every product A[i]·B[j]. Those of one diagonal are added."),
      h("tr", {}, h("td"), ...two.a.map((v, i) => h("th", { scope: "col" }, `A[${i}] = ${text(v)}`))),
      ...two.b.map((w, j) =>
        h(
          "tr", {},
          h("th", { scope: "row" }, `B[${j}] = ${text(w)}`),
          ...two.a.map((v, i) => h("td", { class: i + j === picked ? "marked" : "" }, text(v * w))),
        ),
      ),
    );
    const terms = from.map(([i, j]) => `A[${i}]·B[${j}]`).join(" + ");
    const numbers = from.map(([i, j]) => `(${text(two.a[i] * two.b[j])})`).join(" + ");
    made.set(`K[${picked}] = ${terms} = ${from.length > 1 ? `${numbers} = ` : ""}`, number(whole[picked], "picked"));
    written.textContent = `(${polynomial(two.a)}) · (${polynomial(two.b)}) = ${polynomial(whole)}`;
    const off = difference(correlate(correlate(signal, two.a), two.b), correlate(signal, whole));
    check.set("A, then B, on a signal of 32 numbers, against K alone: largest difference ", h("b", { "data-name": "product-off", "data-value": off }, tiny(off)), ".");
  }
  const both = (of           )              =>
    h("div", { class: "buttons" },
      button(`${of}-longer`, "+ tap", () => length(of, 1)),
      button(`${of}-shorter`, "− tap", () => length(of, -1)));
  root.append(
    h("div", { class: "row equation top" },
      h("div", {}, a.root, both("a")), h("span", { class: "sign", "aria-hidden": "true" }, "∗"),
      h("div", {}, b.root, both("b")), h("span", { class: "sign", "aria-hidden": "true" }, "="),
      k.root),
    written,
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of products" }, table),
    made.root,
    check.root,
  );
  watch(draw);
}
return { product1 };
})();
const $window = (() => {
// One axis with everything: y[n] = Σ_t K[t]·x↑u[s·n + d·t − lo], x↑u being x with u − 1 zeros between samples.
/** Greatest common divisor; gcd(0, n) = n. */
function gcd(a        , b        )         {
  return b === 0 ? a : gcd(b, a % b);
}
/** Where tap (i of the first, j of the second) of the merged window lies: s1·d2·j + u2·d1·i. */
function place(first        , second        , i        , j        )         {
  return first.stride * second.dilation * j + second.up * first.dilation * i;
}
/** Are the two one window? Where gcd(u2, s1) = 1; else the phase changes from output to output. */
function isOne(first        , second        )          {
  return gcd(second.up, first.stride) === 1;
}
/** The window of both: stride s1·s2, upsampling u1·u2, lo = s1·lo2 + u2·lo1, dilation the widest that meets all taps. */
function joined(first        , second        )         {
  const steps = [
    second.taps > 1 ? first.stride * second.dilation : 0,
    first.taps > 1 ? second.up * first.dilation : 0,
  ];
  const dilation = gcd(steps[0], steps[1]) || 1;
  return {
    taps: place(first, second, first.taps - 1, second.taps - 1) / dilation + 1,
    stride: first.stride * second.stride,
    dilation,
    up: first.up * second.up,
    lo: first.stride * second.lo + second.up * first.lo,
  };
}
/** K[place(i, j) / d] = Σ A[i]·B[j]: the taps of the window of both. */
function taps(a          , first        , b          , second        )           {
  const whole = joined(first, second);
  const k           = new Array(whole.taps).fill(0);
  b.forEach((y, j) => a.forEach((x, i) => (k[place(first, second, i, j) / whole.dilation] += x * y)));
  return k;
}
/** The samples of x that output n reads, with the tap that reads each: those of x↑u that are no inserted zeros. */
function reads(w        , n        )                                {
  const found                                = [];
  for (let tap = 0; tap < w.taps; tap++) {
    const at = w.stride * n + w.dilation * tap - w.lo;
    if (at % w.up === 0) found.push({ tap, at: at / w.up });
  }
  return found;
}
/** Output n of a layer on a signal without end, given as a function. */
function output(x                        , k          , w        , n        )         {
  return reads(w, n).reduce((sum, { tap, at }) => sum + k[tap] * x(at), 0);
}
/**
 * The same in fewer taps, where stride and upsampling share a factor g: only taps with d·t ≡ lo (mod g) meet samples of
 * x, the others always meet inserted zeros. Stride and upsampling are divided by g. One tap, a zero, where none does.
 */
function reduced(k          , w        )                                  {
  const g = gcd(w.up, w.stride);
  const [stride, up] = [w.stride / g, w.up / g];
  const kept = k.map((_, t) => t).filter((t) => (w.dilation * t - w.lo) % g === 0);
  if (!kept.length) return { k: [0], window: { taps: 1, stride, dilation: 1, up, lo: 0 } };
  const dilation = kept.length > 1 ? (w.dilation * (kept[1] - kept[0])) / g : 1;
  const lo = (w.lo - w.dilation * kept[0]) / g;
  return { k: kept.map((t) => k[t]), window: { taps: kept.length, stride, dilation, up, lo } };
}
return { gcd, place, isOne, joined, taps, reads, output, reduced };
})();
const $station_window = (() => {
// 6: stride and upsampling, by the window formula.
const { h, says, slider, svg } = $dom;
const { text, tiny } = $numbers;
const { gcd, isOne, joined, output, place, reads, reduced, taps } = $window;
const [LEFT, RIGHT, WIDE, HIGH] = [-7, 25, 720, 236]; // of the common grid; of the picture
function window6(root             )       {
  const knob = (which        , name        , key        , range                          , v        )         =>
    slider(`window-${key}${which}`, name, range, v, draw);
  const [one, two] = [["1", [3, 2, 1, 1, 1]], ["2", [2, 1, 1, 1, 0]]].map(([which, [k, s, d, u, p]]     ) => ({
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
  const x = (i        )         => ((((i * 7) % 11) + 11) % 11) / 4 - 1; // a signal without end
  const of = (knobs            )         => ({
    taps: knobs.taps.value(), stride: knobs.stride.value(), dilation: knobs.dilation.value(),
    up: knobs.up.value(), lo: knobs.lo.value(),
  });
  const kernel = (n        , from        )           => Array.from({ length: n }, (_, i) => from + i * (from > 1 ? -0.5 : 1));
  function draw()       {
    const [first, second, n] = [of(one), of(two), at.value()];
    const fits = isOne(first, second);
    const [a, b] = [kernel(first.taps, 1), kernel(second.taps, 1.5)];
    const whole = joined(first, second);
    const k = taps(a, first, b, second);
    const shorter = reduced(k, whole);
    // On the grid of x↑(u1·u2), every window drawn around its middle.
    const xAt = (i        )         => i * first.up * second.up;
    const hAt = (m        )         => second.up * (first.stride * m - first.lo + (first.dilation * (first.taps - 1)) / 2);
    const yAt = (m        )         => {
      const read = reads({ ...second, up: 1 }, m).map(({ at }) => at / second.up);
      return (hAt(read[0]) + hAt(read[read.length - 1])) / 2;
    };
    const px = (v        )         => ((v - LEFT) / (RIGHT - LEFT)) * WIDE;
    const rows                                            = [["y", 34, yAt], ["h", 108, hAt], ["x", 182, xAt]];
    const fromY = reads(second, n).map(({ at }) => at);
    const fromH = new Set(fromY.flatMap((m) => reads(first, m).map(({ at }) => at)));
    const lit = [[n], fromY, [...fromH]];
    const line = (x1        , y1        , x2        , y2        )             => svg("line", { class: "read", x1: px(x1), y1, x2: px(x2), y2 });
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
    const facts = (label        , w        )              =>
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
    const inner = (m        )         => output(x, a, first, m);
    const off = Array.from({ length: 40 }, (_, m) => Math.abs(output(inner, b, second, m) - output(x, k, whole, m))).reduce((p, q) => Math.max(p, q));
    said.set(`Taps at s1·d2·j + u2·d1·i = ${places.join(", ")}. K = (${k.map((v) => text(v)).join(", ")}). Largest difference over 40 outputs of a signal without end: `,
      h("b", { "data-name": "window-off", "data-value": off }, tiny(off)), ".",
      shorter.k.length < k.length ? ` Stride and upsampling share a factor, so only ${shorter.k.length} of the taps ever meet a sample.` : "");
  }
  const knobs = (label        , of            )              =>
    h("fieldset", {}, h("legend", {}, label), ...Object.values(of).map((s) => s.root));
  root.append(
    h("div", { class: "columns" }, knobs("First layer, A", one), knobs("Second layer, B", two)),
    h("div", { class: "controls" }, at.root),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "What is read, drawn" }, view),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Windows as numbers" }, table), said.root,
  );
  draw();
}
return { window6 };
})();
const $layers = (() => {
// A small subset of PyTorch's text → layers → what they merge into.
//
//     nn.Sequential(…) or […], nested or not; or one layer a line, each with `name =` before it or not; # comments
//     nn.Conv1d, nn.Conv2d (in, out, kernel, stride=, padding=, dilation=, groups=, bias=)   numbers or tuples of them
//     nn.BatchNorm1d, nn.BatchNorm2d (n)         taken in eval mode
//     nn.Linear (in, out, bias=)
//     nn.Identity, nn.Dropout, nn.Dropout2d      nothing, in eval mode
//     any other nn.Name(…)                       ends a stretch
const { macs } = $cost;
const { gcd, joined } = $window;
const TOKEN = /\s+|#[^\n]*|([A-Za-z_][\w.]*|-?\d+(?:\.\d*)?(?:e-?\d+)?|"[^"\n]*"|'[^'\n]*'|[()[\],=:])|(.)/gy;
function fail(line        , what        )        {
  throw new Error(`Line ${line}: ${what}`);
}
function tokens(text        )          {
  const found          = [];
  let line = 1;
  TOKEN.lastIndex = 0;
  for (let m = TOKEN.exec(text); m; m = TOKEN.exec(text)) {
    if (m[2]) fail(line, `“${m[2]}” is not read here. Give layers only, like nn.Conv2d(3, 16, 3).`);
    if (m[1]) found.push({ text: m[1], line, start: m.index, end: m.index + m[1].length });
    line += m[0].split("\n").length - 1;
  }
  return found;
}
/** Layers in the order they are written; throws an Error with one line that says what was found and what to do. */
function parse(text        )          {
  const all = tokens(text);
  const layers          = [];
  let at = 0;
  const peek = (ahead = 0)         => all[at + ahead]?.text ?? "";
  const line = ()         => (all[at] ?? all[all.length - 1])?.line ?? 1;
  const take = (text        )       => {
    if (peek() !== text) fail(line(), `expected “${text}”, found ${peek() ? `“${peek()}”` : "the end"}.`);
    at++;
  };
  const value = ()        => {
    const text = peek();
    if (text === "(" || text === "[") {
      at++;
      const list          = [];
      while (peek() !== ")" && peek() !== "]") {
        list.push(value());
        if (peek() === ",") at++;
        else if (peek() !== ")" && peek() !== "]") fail(line(), `expected “,” or “)”, found “${peek()}”.`);
      }
      at++;
      return list;
    }
    at++;
    if (text === "True" || text === "False") return text === "True";
    if (/^-?\d/.test(text)) return Number(text);
    if (/^["']/.test(text)) return text.slice(1, -1);
    at--;
    return fail(line(), `“${text || "the end"}” is no number. Write numbers in place of names.`);
  };
  const item = ()       => {
    const name = peek();
    if (name === "[") return list("[", "]");
    if (!/^[A-Za-z_]/.test(name)) fail(line(), `expected a layer like nn.Conv2d(3, 16, 3), found “${name}”.`);
    if (peek(1) === "=") {
      at += 2;
      return item();
    }
    const [start, begun] = [all[at].start, line()];
    const short = name.replace(/^(torch\.)?nn\./, "");
    at++;
    if (peek() !== "(") fail(begun, `“${name}” is not a layer. Write it with its arguments, like nn.ReLU().`);
    if (/^(Sequential|ModuleList)$/.test(short)) return list("(", ")");
    take("(");
    const [args, named]                                       = [[], {}];
    while (peek() !== ")") {
      if (peek(1) === "=") {
        const key = peek();
        at += 2;
        named[key] = value();
      } else args.push(value());
      if (peek() === ",") at++;
      else if (peek() !== ")") fail(line(), `expected “,” or “)” in ${name}, found ${peek() ? `“${peek()}”` : "the end"}.`);
    }
    const source = text.slice(start, all[at].end).replace(/#[^\n]*/g, "").replace(/\s+/g, " ");
    at++;
    layers.push(layer(short, source.replace(/^(torch\.)?nn\./, "nn."), begun, args, named));
  };
  const list = (open        , close        )       => {
    take(open);
    while (peek() !== close) {
      item();
      if (peek() === ",") at++;
      else if (peek() !== close) fail(line(), `expected “,” or “${close}”, found ${peek() ? `“${peek()}”` : "the end"}.`);
    }
    take(close);
  };
  while (at < all.length) {
    item();
    if (peek() === ",") at++;
  }
  return layers;
}
const PARAMETERS                               = {
  conv: ["in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias", "padding_mode"],
  linear: ["in_features", "out_features", "bias"],
};
function layer(name        , source        , line        , args         , named                           )        {
  const base = { name, source, line, dims: -1, inputs: 0, outputs: 0, windows: [], groups: 1, bias: true };
  if (/^(Identity|Dropout\d?d?)$/.test(name)) return { ...base, kind: "nothing", bias: false };
  const norm = /^BatchNorm([12])d$/.exec(name);
  if (norm) {
    const n = args[0] ?? named.num_features;
    if (!isCount(n)) fail(line, `${name} needs its number of channels, like nn.${name}(16).`);
    return { ...base, kind: "norm", inputs: n, outputs: n };
  }
  const conv = /^Conv([12])d$/.exec(name);
  if (!conv && name !== "Linear") return { ...base, kind: "other" };
  const known = PARAMETERS[conv ? "conv" : "linear"];
  const given                            = { ...named };
  args.forEach((v, n) => {
    if (!known[n]) fail(line, `${name} has ${args.length} arguments without a name, at most ${known.length} are known.`);
    given[known[n]] = v;
  });
  for (const key of Object.keys(given)) if (!known.includes(key)) fail(line, `${name} has no argument “${key}” that is read here. Leave it out.`);
  const need = (key        )         => {
    const v = given[key];
    if (!isCount(v)) fail(line, `${name} needs ${key} as a whole number from 1, found ${v === undefined ? "none" : String(v)}.`);
    return v;
  };
  const bias = given.bias ?? true;
  if (typeof bias !== "boolean") fail(line, `bias is True or False, found ${String(bias)}.`);
  if (!conv) return { ...base, kind: "linear", dims: 0, inputs: need("in_features"), outputs: need("out_features"), bias };
  const dims = Number(conv[1]);
  const per = (key        , otherwise       , least        )           => {
    const v = given[key] ?? otherwise;
    const list = Array.isArray(v) ? v : new Array(dims).fill(v);
    if (list.length !== dims || !list.every((n) => Number.isInteger(n) && (n          ) >= least))
      fail(line, `${name}: ${key} is a whole number from ${least}, or ${dims} of them, found ${JSON.stringify(v)}.`);
    return list            ;
  };
  if ((given.padding_mode ?? "zeros") !== "zeros")
    fail(line, `padding_mode="${String(given.padding_mode)}" copies pixels; only zeros are read here.`);
  if (given.kernel_size === undefined) fail(line, `${name} needs kernel_size.`);
  const [inputs, outputs, groups] = [need("in_channels"), need("out_channels"), given.groups === undefined ? 1 : need("groups")];
  if (inputs % groups || outputs % groups)
    fail(line, `${inputs} → ${outputs} channels cannot be split into ${groups} groups.`);
  const [kernel, stride, dilation] = [per("kernel_size", 1, 1), per("stride", 1, 1), per("dilation", 1, 1)];
  let padding          ;
  if (given.padding === "same") {
    const whole = kernel.map((k, n) => dilation[n] * (k - 1));
    if (whole.some((p) => p % 2)) fail(line, `padding="same" of an even kernel pads one side more; give it in numbers.`);
    if (stride.some((s) => s > 1)) fail(line, `padding="same" goes with stride 1 only.`);
    padding = whole.map((p) => p / 2);
  } else padding = given.padding === "valid" ? kernel.map(() => 0) : per("padding", 0, 0);
  const windows = kernel.map((taps, n) => ({ taps, stride: stride[n], dilation: dilation[n], up: 1, lo: padding[n] }));
  return { ...base, kind: "conv", dims, inputs, outputs, windows, groups, bias };
}
function isCount(v                   )              {
  return typeof v === "number" && Number.isInteger(v) && v > 0;
}
/** Layers that follow one another without anything between that is not affine; and what ends it. */
/** Cut where a layer is not affine. */
function stretches(layers         )            {
  const found            = [{ layers: [], end: null }];
  for (const one of layers) {
    const last = found[found.length - 1];
    if (one.kind === "other") {
      last.end = one;
      found.push({ layers: [], end: null });
    } else if (one.kind !== "nothing") last.layers.push(one);
  }
  return found.filter((s) => s.layers.length || s.end);
}
/** One layer that computes what some in a row compute; `mended` where its border needs kernels of their own. */
/**
 * What some layers in a row merge into. Windows as in window.ts; groups gcd(g1, g2); a bias where one has it.
 * A second layer with padding reads ghosts, unless the first has no bias and pads by d·(k − 1) or more: then they are zero.
 */
function merge(layers         )         {
  return layers.slice(1).reduce        ((whole, next) => pair(whole, next), { layer: layers[0], mended: false });
}
function pair(whole        , second       )         {
  const first = whole.layer;
  if (first.outputs !== second.inputs)
    fail(second.line, `${first.source} gives ${first.outputs} channels, ${second.source} takes ${second.inputs}. Make them equal.`);
  if (first.dims >= 0 && second.dims >= 0 && first.dims !== second.dims)
    fail(second.line, `${first.name} then ${second.name}: they have different numbers of space axes, and are not merged here.`);
  const dims = Math.max(first.dims, second.dims);
  if (second.kind === "norm") return { ...whole, layer: { ...first, bias: true } };
  if (first.kind === "norm") {
    const ghost = second.windows.some((w) => w.lo > 0);
    return { layer: { ...second, bias: true }, mended: ghost };
  }
  const [groups, bias] = [gcd(first.groups, second.groups), first.bias || second.bias];
  const windows = first.windows.map((w, axis) => joined(w, second.windows[axis]));
  const ghosts = second.windows.some((w) => w.lo > 0);
  const zero = !first.bias && first.windows.every((w) => w.lo >= w.dilation * (w.taps - 1));
  const layer = { ...first, dims, outputs: second.outputs, windows, groups, bias, source: "" };
  return { layer, mended: whole.mended || (ghosts && !zero) };
}
/** ⌊(size + 2·pad − d·(k − 1) − 1) / s⌋ + 1 on every axis. */
function outputSize(one       , size          )           {
  return one.windows.map((w, n) => Math.floor((size[n] + 2 * w.lo - w.dilation * (w.taps - 1) - 1) / w.stride) + 1);
}
/** The size after some layers; throws where nothing is left. */
function sizeAfter(layers         , size          )           {
  return layers.reduce((at, one) => {
    if (one.kind !== "conv") return at;
    const next = outputSize(one, at);
    if (next.some((n) => n < 1)) fail(one.line, `${one.source} leaves nothing of ${at.join(" × ")} positions. Give a larger input.`);
    return next;
  }, size);
}
/** Multiply-adds of one layer; a batch norm has none, as the library counts. */
function work(one       , size          )         {
  if (one.kind === "norm") return 0;
  const out = one.kind === "conv" ? outputSize(one, size) : [];
  return macs(one.inputs, one.outputs, one.windows.map((w) => w.taps), out, one.groups);
}
/** Layers first … last − 1 as one, or as they are where that is one layer. */
/**
 * The cheapest way to cut a stretch into groups that are merged, by multiply-adds; of equal ones that with fewer layers.
 * Dynamic programming: best(n) = min over m of best(m) + cost of m … n − 1 as one.
 */
function grouped(layers         , size          )          {
  const best                                      = [{ macs: 0, groups: [] }];
  for (let last = 1; last <= layers.length; last++) {
    for (let first = 0; first < last; first++) {
      const merged = merge(layers.slice(first, last));
      const cost = work(merged.layer, sizeAfter(layers.slice(0, first), size));
      const groups = [...best[first].groups, { first, last, macs: cost, merged }];
      const sum = best[first].macs + cost;
      const known = best[last];
      if (!known || sum < known.macs || (sum === known.macs && groups.length < known.groups.length))
        best[last] = { macs: sum, groups };
    }
  }
  return best[layers.length].groups;
}
/** As PyTorch prints it: Conv2d(3, 8, kernel_size=(5, 7), stride=(1, 1), padding=(1, 1)). */
function printed(one       )         {
  if (one.kind === "linear") return `Linear(in_features=${one.inputs}, out_features=${one.outputs}, bias=${one.bias ? "True" : "False"})`;
  if (one.kind === "norm") return one.source.replace(/^nn\./, "");
  const per = (values          )         => `(${values.join(", ")}${values.length === 1 ? "," : ""})`;
  const each = (of                       )           => one.windows.map(of);
  let said = `Conv${one.dims}d(${one.inputs}, ${one.outputs}, kernel_size=${per(each((w) => w.taps))}, stride=${per(each((w) => w.stride))}`;
  if (each((w) => w.lo).some((n) => n !== 0)) said += `, padding=${per(each((w) => w.lo))}`;
  if (each((w) => w.dilation).some((n) => n !== 1)) said += `, dilation=${per(each((w) => w.dilation))}`;
  if (one.groups !== 1) said += `, groups=${one.groups}`;
  return said + (one.bias ? ")" : ", bias=False)");
}
/** Everything about a pasted text on an input of this size: the code that merges, its counts, and what to know. */
function answer(text        , size        )         {
  const layers = parse(text);
  if (!layers.length) throw new Error("There are no layers yet. Paste some, like nn.Conv2d(3, 16, 3).");
  const real = layers.filter((one) => one.kind !== "nothing");
  const dims = Math.max(...real.map((one) => one.dims), 0);
  const lines = ["import convfold", "from torch import nn", "", "# your own layers, with their weights, in place of these"];
  const notes           = [];
  const parts           = [];
  let [before, after, id] = [0, 0, 0];
  let at           = new Array(dims).fill(size);
  for (const { layers: run, end } of stretches(layers)) {
    if (run.length) {
      const apart = run.map((one, n) => work(one, sizeAfter(run.slice(0, n), at))).reduce((p, q) => p + q, 0);
      const all = merge(run);
      const together = work(all.layer, at);
      const groups = grouped(run, at);
      const best = groups.reduce((sum, g) => sum + g.macs, 0);
      const names = run.map((one) => {
        const name = `layer${++id}`;
        lines.push(`${name} = ${one.source}${one.kind === "norm" ? ".eval()" : ""}`);
        return name;
      });
      for (const g of groups) {
        if (g.last - g.first === 1) {
          parts.push(names[g.first]);
          continue;
        }
        const name = `merged${parts.filter((p) => p.startsWith("merged")).length + 1}`;
        lines.push(`${name} = convfold.merge(${names.slice(g.first, g.last).join(", ")})`);
        lines.push(`# ${printed(g.merged.layer)}${g.merged.mended ? ", and the layers on strips of the border" : ""}`);
        parts.push(name);
        if (g.merged.mended)
          notes.push(`${name}: a padded layer reads beyond the one before it, so the border is computed apart, exactly (station 7). Its multiply-adds are not counted here.`);
      }
      if (run.length > 1 && together > best)
        notes.push(`All ${run.length} layers of ${names[0]} … ${names[names.length - 1]} as one would take ${together.toLocaleString("en")} multiply-adds, apart they take ${apart.toLocaleString("en")}. ${groups.length === run.length ? "It does not pay, so they stay apart." : "So only what pays is merged."}`);
      if (run.length === 1) notes.push(`${names[0]} has no affine neighbour. It stays as it is.`);
      [before, after] = [before + apart, after + best];
      at = sizeAfter(run, at);
    }
    if (end) {
      const name = `layer${++id}`;
      lines.push(`${name} = ${end.source}`);
      parts.push(name);
      notes.push(`${end.source} on line ${end.line} is not read as affine here, so nothing is merged across it.`);
    }
  }
  lines.push("", `model = nn.Sequential(${parts.join(", ")})`);
  return { before, after, code: lines.join("\n"), notes };
}
return { parse, stretches, merge, outputSize, sizeAfter, work, grouped, printed, answer };
})();
const $report = (() => {
// What `convfold explain MODEL --json` wrote, read and put in order.
const TOTALS = ["macs", "params", "ops", "layers", "batch_norms"];
/** The report in a file's text; throws an Error with one line that says what is wrong and what to do. */
function read(text        )         {
  const ask = "write one with: convfold explain MODEL --json > report.json";
  let data;
  try {
    data = JSON.parse(text);
  } catch {
    throw new Error(`The file is not JSON; ${ask}`);
  }
  if (Array.isArray(data)) throw new Error(`The file holds a list of ${data.length}, not one report; ${ask}`);
  for (const key of ["before", "after"])
    for (const name of TOTALS)
      if (typeof data?.[key]?.[name] !== "number") throw new Error(`The file has no number ${key}.${name}; ${ask}`);
  for (const key of ["applied", "refused"])
    if (!Array.isArray(data[key])) throw new Error(`The file has no list "${key}"; ${ask}`);
  for (const row of data.applied)
    if (typeof row?.macs_before !== "number" || typeof row.macs_after !== "number")
      throw new Error(`A row of "applied" has no multiply-adds; ${ask}`);
  for (const row of data.refused)
    if (typeof row?.code !== "string") throw new Error(`A row of "refused" has no code; ${ask}`);
  return data;
}
/** Stretches, the one that saves most first. */
function bySaving(report        )            {
  const saved = (row         )         => row.macs_before - row.macs_after;
  return [...report.applied].sort((p, q) => saved(q) - saved(p));
}
/** Refusals by their reason, the most frequent first. */
function byReason(report        )                        {
  const found = new Map                   ();
  for (const row of report.refused) found.set(row.code, [...(found.get(row.code) ?? []), row]);
  return [...found].sort((p, q) => q[1].length - p[1].length);
}
/** Every reason in words: `convfold.errors.REASONS`. */
const REASONS                             = {
  "channels-differ": "the first's output channels are not the second's input channels",
  "crosses-module": "the layers lie in different modules, which are kept apart",
  "dimensions-differ": "the operands have different numbers of space axes",
  "does-not-pay": "the folded form would cost more than the original",
  "excluded": "left alone because the configuration excludes it",
  "ghost-depends-on-data": "the second reads, as zeros, positions where the first alone would have data",
  "ghost-is-constant": "the second reads, as zeros, positions where the first alone would have its bias",
  "layout-mixes-channels": "a view or permute between the two does not keep the channel axis whole",
  "no-module": "no single torch.nn module computes this",
  "not-affine": "the layer is not affine",
  "not-exported": "torch.export cannot follow the module, called as it is",
  "not-verified": "the module's folded form differs by more than its own rounding error, or cannot be compared",
  "padding-mode": "padding that copies data is not a convolution",
  "partition-differs": "channel groups do not line up with the parts of the concat or split",
  "quantised": "the weight is stored in eight bits; composed with others it would be stored wide",
  "sizes-differ": "the branches have different output sizes",
  "size-depends-on-remainder": "the output size depends on a remainder, unknown while the size is free",
  "slower-here": "the model was timed with it folded and without, in the target's runtime, and is faster without",
  "stride-upsample": "upsampling after a stride with a common factor cannot be one convolution",
  "too-large": "the folded kernel would exceed the memory limit",
  "training-mode": "batch statistics change with the batch",
  "window-not-uniform": "the pool divides by a different number of values at the border",
};
return { read, bySaving, byReason, REASONS };
})();
const $yours = (() => {
// At last: your own layers, and your own report.
const { button, h, slider } = $dom;
const { answer } = $layers;
const { change, count } = $numbers;
const { byReason, bySaving, read, REASONS } = $report;
const EXAMPLE = `nn.Sequential(
    nn.Conv2d(3, 32, 3, padding=1, bias=False),
    nn.BatchNorm2d(32),
    nn.Conv2d(32, 16, 1),
    nn.ReLU(),
    nn.Conv2d(16, 48, 3, padding=1),
    nn.Conv2d(48, 4, 3, padding=1),
)`;
function layersOf(root             )       {
  const input = h("textarea", { id: "paste", rows: 9, spellcheck: "false", autocapitalize: "off", "data-name": "paste" })                       ;
  input.value = EXAMPLE;
  const size = slider("paste-size", "Input, size × size", [8, 256, 8], 64, draw);
  const result = h("div", { class: "result", role: "status", "data-name": "paste-result" });
  function draw()       {
    try {
      const { before, after, code, notes } = answer(input.value, size.value());
      const copy = button("paste-copy", "Copy", () => {
        navigator.clipboard?.writeText(code).then(() => (copy.textContent = "Copied"), () => (copy.textContent = "Select it and copy"));
      });
      result.replaceChildren(
        h("p", { class: "says" }, "Multiply-adds: ", h("b", { class: "number", "data-name": "paste-before", "data-value": before }, count(before)), " → ",
          h("b", { class: "number", "data-name": "paste-after", "data-value": after }, count(after)), ` ${change(before, after)}`),
        h("div", { class: "code" }, h("pre", { tabindex: 0, role: "region", "aria-label": "PyTorch code" }, h("code", { "data-name": "paste-code" }, code)), copy),
        h("ul", { class: "notes" }, ...notes.map((note) => h("li", {}, note))),
      );
    } catch (error) {
      result.replaceChildren(h("p", { class: "says wrong" }, (error         ).message));
    }
  }
  input.addEventListener("input", draw);
  root.append(h("label", { for: "paste" }, "Your layers, as PyTorch text"), input, h("div", { class: "controls" }, size.root), result);
  draw();
}
function reportOf(root             )       {
  const input = h("input", { id: "report", type: "file", accept: ".json,application/json", "data-name": "report" })                    ;
  const result = h("div", { class: "result", role: "status", "data-name": "report-result" });
  const head = (...names          )              => h("tr", {}, ...names.map((name) => h("th", { scope: "col" }, name)));
  const table = (caption        , ...rows               )              =>
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, h("table", { class: "facts" }, h("caption", {}, caption), ...rows));
  input.addEventListener("click", () => (input.value = "")); // the same file again, when it has changed
  input.addEventListener("change", async () => {
    const file = input.files?.[0];
    if (!file) return;
    try {
      const report = read(await file.text());
      const { before, after } = report;
      const totals                             = [
        ["multiply-adds", before.macs, after.macs], ["parameters", before.params, after.params], ["operations", before.ops, after.ops],
        ["convolutions + linears", before.layers, after.layers], ["batch norms", before.batch_norms, after.batch_norms],
      ];
      const stretches = bySaving(report).map((row) =>
        h("tr", {}, h("th", { scope: "row" }, row.where), h("td", { class: "words" }, row.before), h("td", { class: "words" }, row.after),
          h("td", {}, count(row.macs_before)), h("td", {}, count(row.macs_after)), h("td", {}, change(row.macs_before, row.macs_after))));
      const refusals = byReason(report).map(([code, rows]) =>
        h("details", { class: "refusal" }, h("summary", {}, `${rows.length} × ${code}: ${REASONS[code] ?? "a reason this page does not know"}`),
          h("ul", {}, ...rows.map((row) => h("li", {}, `${row.where}: ${row.detail}`)))));
      result.replaceChildren(
        table(`${file.name}: totals`, head("", "before", "after", "change"),
          ...totals.map(([name, p, q]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { "data-value": p }, count(p)), h("td", { "data-value": q }, count(q)), h("td", {}, change(p, q))))),
        stretches.length ? table("What was folded, the largest saving first", head("where", "from", "to", "before", "after", "change"), ...stretches) : h("p", {}, "Nothing was folded."),
        h("h4", {}, refusals.length ? "What was left, by reason" : "Nothing was left."), ...refusals,
      );
    } catch (error) {
      result.replaceChildren(h("p", { class: "says wrong" }, (error         ).message));
    }
  });
  root.append(h("label", { for: "report" }, "A report, from ", h("code", {}, "convfold explain MODEL --json > report.json")), input, result);
}
return { layersOf, reportOf };
})();
const $page = (() => {
// Fills every station, marks the one that is read, and keeps the theme.
const { bend } = $station_bend;
const { bias } = $station_bias;
const { border } = $station_border;
const { branches } = $station_branches;
const { channels } = $station_channels;
const { cost } = $station_cost;
const { flip } = $station_flip;
const { image } = $station_image;
const { product1 } = $station_product;
const { window6 } = $station_window;
const { layersOf, reportOf } = $yours;
const STATIONS                                                = {
  product: product1, flip, image, channels, bias, window: window6, border, branches, bend, cost, layers: layersOf, report: reportOf,
};
for (const [name, fill] of Object.entries(STATIONS)) {
  const root = document.querySelector             (`[data-play="${name}"]`);
  if (root) fill(root);
}
const links = new Map([...document.querySelectorAll                   (".stations a")].map((a) => [a.hash.slice(1), a]));
const seen = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries)
      if (isIntersecting)
        links.forEach((a, id) => (id === target.id ? a.setAttribute("aria-current", "true") : a.removeAttribute("aria-current")));
  },
  { rootMargin: "-30% 0px -65% 0px" },
);
document.querySelectorAll("section[id]").forEach((section) => seen.observe(section));
const THEMES = ["auto", "light", "dark"];
const toggle = document.querySelector                   (".theme");
/** Where the browser keeps nothing for this page, the choice lasts until it is closed. */
function kept(theme         )                {
  try {
    if (theme) localStorage.setItem("theme", theme);
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
}
function show(theme        )       {
  document.documentElement.dataset.theme = theme;
  if (toggle) toggle.textContent = `Theme: ${theme}`;
}
show(THEMES.find((theme) => theme === kept()) ?? "auto");
toggle?.addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % 3];
  kept(next);
  show(next);
});
return {  };
})();
})();

"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const [NAME, LABEL, PATH, SIZE, MACS, READS, TAPS] = [0, 1, 2, 3, 4, 5, 6];

  // ---- words -------------------------------------------------------------------------------------------------------

  function count(n) {
    for (const [size, prefix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]])
      if (Math.abs(n) >= size) return `${Number((n / size).toPrecision(3))} ${prefix}`;
    return String(n);
  }
  const percent = (x) => `${Math.abs(100 * x) < 0.05 ? "0" : (100 * x).toFixed(Math.abs(x) < 0.1 ? 1 : 0)} %`;
  const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
  const change = (before, after) => {
    if (before === after) return "the same";
    if (Math.abs(after - before) < 0.0005 * before) return "about the same";
    return `${after < before ? "−" : "+"}${percent(Math.abs(after - before) / Math.max(before, 1))}`;
  };

  /** An element; children are elements or text, so nothing of a model's is ever read as markup. */
  function make(tag, attributes = {}, ...children) {
    const svg = ["svg", "g", "rect", "path", "text", "title", "defs", "marker"].includes(tag);
    const e = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined) e.setAttribute(name, value);
    }
    e.append(...children.filter((c) => c !== null && c !== undefined));
    return e;
  }
  /** A path that breaks behind its dots and arrows, not in a word. */
  const broken = (text) => text.split(/(?<=[./→_(])/).flatMap((part, i) => (i ? [make("wbr"), part] : [part]));
  const fill = (id, ...children) => $(id).replaceChildren(...children);

  // ---- what it saves -----------------------------------------------------------------------------------------------

  const saved = data.before.macs - data.after.macs;

  function headline() {
    const less = data.before.macs ? saved / data.before.macs : 0;
    const ops = data.before.ops - data.after.ops;
    const [makes, takes] = data.error ? ["makes", "takes"] : ["would make", "take"];
    const parts = [];
    if (!data.applied.length) return "Nothing was folded: no form that convfold knows is cheaper than what is there.";
    if (saved > 0) parts.push(`${percent(less)} fewer multiply-adds (${count(data.before.macs)} → ${count(data.after.macs)})`);
    else parts.push("as many multiply-adds");
    if (ops > 0) parts.push(`${plural(ops, "operation")} fewer`);
    if (ops < 0) parts.push(`${plural(-ops, "operation")} more`);
    const sure = !data.error ? "Nothing was run yet: this is what a fold would do."
      : data.error.nothing ? `Nothing could be compared: ${data.error.nothing}.`
      : data.error.passed ? "It computes the same function, checked against float64." : "It does not compute the same function.";
    return `The folded model ${makes} ${parts.join(` and ${takes} `)}. ${sure}`;
  }

  function totals() {
    const rows = [["macs", "multiply-adds"], ["params", "parameters"], ["ops", "operations"],
      ["layers", "convolutions and linears"], ["batch_norms", "batch norms"]];
    return rows.filter(([key]) => data.before[key] || data.after[key]).map(([key, word]) => {
      const [b, a] = [data.before[key], data.after[key]];
      const bar = (n, cls, when) => make("div", { class: `bar ${cls}` },
        make("i", { style: `width:${(70 * n) / Math.max(a, b)}%` }), make("span", {}, `${count(n)} ${when}`));
      return make("div", { class: "total" }, make("b", {}, word),
        make("div", { class: "bars" }, bar(b, "before", "before"), bar(a, "after", "after")),
        make("span", { class: `change ${a < b ? "less" : ""}` }, change(b, a)));
    });
  }

  // ---- graphs ------------------------------------------------------------------------------------------------------

  const GAP = { nodesep: 24, ranksep: 30, marginx: 12, marginy: 12 };
  const width = (text) => 7.1 * text.length + 24;
  const clipped = (text, n = 44) => (text.length > n ? `${text.slice(0, n - 1)}…` : text);

  /** Boxes {id, lines, taps} and edges [from, to, text]: where each goes. */
  function laidOut(nodes, edges) {
    const g = new dagre.graphlib.Graph({ multigraph: false });
    g.setGraph(GAP);
    g.setDefaultEdgeLabel(() => ({}));
    for (const n of nodes) {
      const icon = n.taps && n.taps.length === 2 && Math.max(...n.taps) <= 9 ? 6 * n.taps[1] + 8 : 0;
      const w = Math.max(64, ...n.lines.map((line) => width(line))) + icon;
      g.setNode(n.id, { width: w, height: Math.max(10 + 17 * n.lines.length, icon ? 6 * n.taps[0] + 10 : 0) });
    }
    for (const [from, to] of edges) if (from !== to) g.setEdge(from, to);
    dagre.layout(g);
    return g;
  }

  let markers = 0;
  /** An SVG of what was laid out; `look` gives each box its class, whether it is a ghost, and what opens it. */
  function graph(g, nodes, edges, look, title) {
    const { width: w, height: h } = g.graph();
    const tip = `tip${markers++}`;
    const svg = make("svg", { viewBox: `0 0 ${w || 10} ${h || 10}`, width: w, height: h, role: "group", "aria-label": title },
      make("defs", {}, make("marker", { id: tip, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
        make("path", { class: "tip", d: "M0 0 L8 4 L0 8 z" }))));
    for (const [from, to, text] of edges) {
      const edge = g.edge(from, to);
      if (!edge || look(from) === null || look(to) === null) continue;
      const ghost = look(from).ghost || look(to).ghost;
      const points = edge.points.map((p) => `${p.x.toFixed(1)} ${p.y.toFixed(1)}`);
      svg.append(make("path", { class: `edge${ghost ? " ghost" : ""}`, d: `M${points.join("L")}`, "marker-end": `url(#${tip})` }));
      if (text && !ghost) {
        const at = edge.points[Math.floor(edge.points.length / 2)];
        svg.append(make("text", { class: "small", x: at.x + 4, y: at.y }, text));
      }
    }
    for (const n of nodes) {
      const at = g.node(n.id), how = look(n.id);
      if (how === null) continue;
      const lines = how.lines || n.lines, left = at.x - at.width / 2, top = at.y - at.height / 2;
      const open = how.open && !how.ghost ? how.open : null;
      const e = make("g", {
        class: `${how.cls || ""}${how.ghost ? " ghost" : ""}`,
        ...(open ? { tabindex: 0, role: "button", "aria-label": `${lines.join(", ")}${how.says ? `, ${how.says}` : ""}`, onclick: open,
          onkeydown: (k) => { if (k.key === "Enter" || k.key === " ") { k.preventDefault(); open(); } } } : {}),
      }, make("rect", { class: "box", x: left, y: top, width: at.width, height: at.height, rx: 5 }), make("title", {}, n.full || lines.join(", ")));
      const icon = n.taps && n.taps.length === 2 && Math.max(...n.taps) <= 9;
      if (icon) e.append(...taps(n.taps, at.x + at.width / 2 - 6 * n.taps[1] - 6, at.y - 3 * n.taps[0]));
      lines.forEach((line, i) => e.append(make("text", { class: i ? "small" : "", x: left + 12, y: top + 18 + 17 * i }, line)));
      svg.append(e);
    }
    return svg;
  }

  function taps([rows, columns], x, y) {
    const cells = [];
    for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++)
      cells.push(make("rect", { class: "tap", x: x + 6 * j, y: y + 6 * i, width: 5, height: 5 }));
    return cells;
  }

  // ---- what changed ------------------------------------------------------------------------------------------------

  const size = (b) => (b[SIZE].length > 1 ? b[SIZE].slice(1) : b[SIZE]).join("×");

  /** Without views, which move nothing: what reads one reads what that reads. */
  function plain(boxes, outputs) {
    const of = new Map(boxes.map((b) => [b[NAME], b]));
    const through = (name) => {
      const b = of.get(name);
      return b && b[LABEL] === "view" && b[READS].length === 1 ? through(b[READS][0]) : name;
    };
    const ends = new Set(outputs.map(through));
    return boxes.filter((b) => through(b[NAME]) === b[NAME])
      .map((b) => Object.assign([...b.slice(0, READS), [...new Set(b[READS].map(through))], b[TAPS]], { end: ends.has(b[NAME]) }));
  }

  function drawn(all, others, outputs, cls, title) {
    const boxes = plain(all, outputs);
    const known = new Set(others.map((b) => b[NAME] + "\n" + b[LABEL]));
    const nodes = boxes.map((b) => ({
      id: b[NAME], taps: b[TAPS], full: [b[LABEL] || b[NAME], b[PATH], size(b)].filter(Boolean).join(", "),
      lines: [clipped(b[LABEL] || (b[PATH] ? `${b[PATH].split(".").pop()} (${b[NAME]})` : b[NAME])), [size(b), b[MACS] ? `${count(b[MACS])} multiply-adds` : ""].filter(Boolean).join(" · ")],
    }));
    const edges = boxes.flatMap((b) => b[READS].map((r) => [r, b[NAME]]));
    const of = new Map(boxes.map((b) => [b[NAME], b]));
    const look = (id) => {
      const b = of.get(id);
      return { cls: !b[LABEL] ? "end" : known.has(b[NAME] + "\n" + b[LABEL]) ? "" : cls };
    };
    const g = laidOut(nodes, edges), svg = graph(g, nodes, edges, look, title);
    svg.setAttribute("style", `min-width:${Math.round(0.6 * g.graph().width)}px`); // smaller it cannot be read
    return svg;
  }

  /** Why the two are equal: the laws that take the one to the other. */
  function laws(boxes) {
    const number = (list, pattern) => list.filter((b) => pattern.test(b[LABEL])).length;
    const { before, after } = boxes, found = [];
    const fewer = (pattern) => number(after, pattern) < number(before, pattern);
    const has = (list, pattern) => list.some((b) => pattern.test(b[LABEL]));
    if (fewer(/convolution|linear|scale|norm|pool/))
      found.push("Two linear operators in a row are one. The kernel of the one is the product of the two kernels, K = B ∗ A, and its bias is b = b₂ + B(b₁).");
    if (fewer(/^sum$/)) found.push("Branches that read one value and are added up are one operator: the sum of their kernels.");
    if (fewer(/^concat$/)) found.push("What reads a concat is a sum: of one operator for each part, on that part's channels.");
    if (after.some((b) => b[NAME].endsWith(".all"))) found.push("Operators side by side that read one value are one, with the output channels of all.");
    if (has(before, /resize|pool|upsampl/) && has(after, /resize|pool/) && boxes.less)
      found.push("An operator that treats every position alike may go before a resize or behind it: there it is applied to fewer positions.");
    if (fewer(/view|slice|permute|flip|shuffle/)) found.push("Views and permutes only move numbers: an operator passes them, or takes them into its own kernel.");
    return found.length ? found : ["The same operators in another order, or written as other calls; each step is linear, and they commute."];
  }

  function ring(border) {
    const beyond = border.ghosts[0] ? border.ghosts[0].beyond : [[1, 1]];
    const rows = beyond[0] || [1, 1], columns = beyond[1] || (beyond.length > 1 ? beyond[1] : [0, 0]);
    const w = 120, h = beyond.length > 1 ? 80 : 22, unit = (n) => Math.min(n, 4) * 5;
    return make("svg", { viewBox: `0 0 ${w} ${h}`, width: w, height: h, role: "img", "aria-label": "the map, and the ring on it that had to be mended" },
      make("rect", { class: "ring", x: 0, y: 0, width: w, height: h }),
      make("rect", beyond.length > 1
        ? { class: "interior", x: unit(columns[0]), y: unit(rows[0]), width: w - unit(columns[0]) - unit(columns[1]), height: h - unit(rows[0]) - unit(rows[1]) }
        : { class: "interior", x: unit(rows[0]), y: 0, width: w - unit(rows[0]) - unit(rows[1]), height: h }));
  }

  function borders(where) {
    return data.borders.filter((b) => b.where === where).map((b) => make("div", {},
      make("h3", {}, "The border"), ring(b),
      make("p", {}, b.change === null
        ? `One convolution would differ on the coloured ring from the chain it stands for. It is mended: ${b.way}, ${count(b.macs)} multiply-adds.`
        : `Padding was moved to the front, as asked: on the coloured ring the result differs by ${b.change.toPrecision(2)}.`),
      ...b.ghosts.map((g) => make("p", { class: "quiet" },
        `${g.reader} reads ${g.beyond.map((e) => e.join(" + ")).join(", ")} positions beyond ${g.read}: ${g.data ? "data" : "a constant"} that one convolution would see, and the chain does not.`))));
  }

  function stretch(a, i) {
    const gain = a.macs_before - a.macs_after;
    const steps = (list) => list.filter((b) => b[LABEL] && b[LABEL] !== "view").length;
    const fewer = a.boxes ? steps(a.boxes.before) - steps(a.boxes.after) : 0;
    const said = gain > 0 ? `−${count(gain)} multiply-adds` : gain < 0 ? `+${count(-gain)} multiply-adds`
      : fewer > 0 ? `${plural(fewer, "step")} fewer` : "other steps";
    const inside = make("div", { class: "inside" });
    const e = make("details", { id: `stretch-${i}` },
      make("summary", {},
        make("span", { class: "where mono" }, ...broken(a.where)), make("span", { class: "what" }, `${a.before} → ${a.after}`),
        make("span", { class: "saved" }, said),
        make("span", { class: "share" }, make("i", { style: `width:${saved > 0 ? Math.max(0, (100 * gain) / saved) : 0}%` }))),
      inside);
    e.addEventListener("toggle", () => {
      if (!e.open || inside.childNodes.length) return;
      const ms = (t) => `${(1e3 * t).toPrecision(3)} ms`;
      const time = a.seconds ? `, ${ms(a.seconds[0])} → ${ms(a.seconds[1])} at the target's prices` : "";
      inside.append(make("p", {}, `${count(a.macs_before)} → ${count(a.macs_after)} multiply-adds${time}, at the example's size.`));
      if (a.boxes) {
        a.boxes.less = gain > 0;
        const panel = (list, others, cls, title) => make("figure", {}, make("figcaption", {}, title),
          make("div", { class: "panel drawing", tabindex: 0, role: "region", "aria-label": `${a.where}, ${title}` }, drawn(list, others, a.boxes.outputs, cls, `${a.where}, ${title}`)));
        inside.append(
          make("div", { class: "panels" }, panel(a.boxes.before, a.boxes.after, "old", "before"), panel(a.boxes.after, a.boxes.before, "new", "after")),
          make("p", { class: "legend" }, make("span", {}, make("i", { class: "old" }), "replaced"), make("span", {}, make("i", { class: "new" }), "in its place"),
            make("span", {}, "small squares: the taps of a kernel"), make("span", {}, "views are left out")),
          make("h3", {}, "Why it is equal"), make("ul", {}, ...laws(a.boxes).map((law) => make("li", {}, law))));
      }
      inside.append(...borders(a.where));
    });
    return e;
  }

  function stretches() {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const least = Number($("least").value) * data.before.macs;
    let rows = data.applied.map((a, i) => [a, i]).filter(([a]) => {
      const text = `${a.where} ${a.before} ${a.after}`.toLowerCase();
      return words.every((w) => text.includes(w)) && a.macs_before - a.macs_after >= (least || -Infinity);
    });
    if ($("order").value === "saved") rows.sort(([a], [b]) => b.macs_before - b.macs_after - (a.macs_before - a.macs_after));
    $("changed-count").textContent = data.applied.length
      ? `${rows.length} of ${plural(data.applied.length, "stretch").replace("stretchs", "stretches")}, each a part of the model without a non-linearity inside.`
      : "No stretch was rewritten.";
    fill("stretches", ...rows.map(([a, i]) => stretch(a, i)));
  }

  function show(i) {
    $("search").value = ""; $("least").value = "0"; stretches();
    const e = $(`stretch-${i}`);
    e.open = true;
    e.scrollIntoView({ block: "start" });
    e.querySelector("summary").focus({ preventScroll: true });
  }

  // ---- map ---------------------------------------------------------------------------------------------------------

  const MANY = 90;
  /** The calls before and after as one list: a call that stays is one entry with both sides. */
  function together() {
    const calls = new Map();
    for (const b of data.picture.calls) calls.set(b[NAME], { name: b[NAME], before: b, after: b, stretch: null });
    data.applied.forEach((a, i) => {
      if (!a.boxes || !a.boxes.before.every((b) => calls.has(b[NAME]) || !b[LABEL])) return; // of what was written before
      const kept = new Set(a.boxes.after.map((b) => b[NAME] + "\n" + b[LABEL]));
      for (const b of a.boxes.before) {
        const c = calls.get(b[NAME]);
        if (!b[LABEL] || !c) continue;
        if (!kept.has(b[NAME] + "\n" + b[LABEL])) { c.after = null; c.stretch = i; }
      }
      for (const b of a.boxes.after) {
        if (!b[LABEL]) continue;
        const c = calls.get(b[NAME]);
        if (c) { if (c.after === null) c.after = b; else c.after = [...c.after.slice(0, READS), b[READS], b[TAPS]]; }
        else calls.set(b[NAME], { name: b[NAME], before: null, after: b, stretch: i });
      }
    });
    return [...calls.values()];
  }

  const map = data.picture ? together() : [];
  const pathOf = (c) => (c.before || c.after)[PATH];
  const segments = (path) => (path ? path.split(".") : []);
  let view = { path: "", only: null, title: "" };
  let box = null;

  /** What stands at one level: modules just below, and calls that are in none of them. */
  function level({ path, only }) {
    const depth = segments(path).length, found = new Map();
    for (const c of map) {
      if (only ? !only.has(c.name) : path && pathOf(c) !== path && !pathOf(c).startsWith(`${path}.`)) continue;
      const below = segments(pathOf(c)).slice(0, depth + 1).join(".");
      const id = below === path || !below ? `call ${c.name}` : `module ${below}`;
      if (!found.has(id)) found.set(id, { id, path: below, calls: [] });
      found.get(id).calls.push(c);
    }
    return [...found.values()];
  }

  /** Many of them in groups of neighbours. */
  function grouped(items) {
    if (items.length <= MANY) return items;
    const each = Math.ceil(items.length / Math.ceil(Math.sqrt(items.length) * 1.3)), groups = [];
    for (let i = 0; i < items.length; i += each) {
      const part = items.slice(i, i + each);
      groups.push({ id: `group ${i}`, title: `${i + 1} – ${i + part.length}`, path: null, calls: part.flatMap((p) => p.calls) });
    }
    return groups;
  }

  const sum = (list) => list.reduce((a, b) => a + b, 0);

  function described(item, side) {
    const calls = item.calls.filter((c) => c[side]);
    if (item.calls.length === 1) {
      const b = item.calls[0][side] || item.calls[0].before || item.calls[0].after;
      const name = segments(b[PATH]).pop();
      return [clipped(b[LABEL] || b[NAME], 36), [item.path && name !== b[NAME] ? name : b[NAME], b[MACS] ? count(b[MACS]) : ""].filter(Boolean).join(" · ")];
    }
    const macs = sum(calls.map((c) => c[side][MACS]));
    return [item.title || segments(item.path).pop(), `${plural(calls.length, "call")}${macs ? ` · ${count(macs)}` : ""}`];
  }

  function enter(item) {
    let next = { path: item.path, only: null, title: segments(item.path).pop() };
    if (item.path === null) next = { path: view.path, only: new Set(item.calls.map((c) => c.name)), title: item.title };
    else for (let inner = level(next); inner.length === 1 && inner[0].id.startsWith("module") && inner[0].calls.length > 1; inner = level(next))
      next = { path: inner[0].path, only: null, title: segments(inner[0].path).pop() };
    view = { ...next, up: view };
    draw(true);
  }

  function draw(focus = false) {
    if (!data.picture) { $("map").hidden = true; document.querySelector('nav a[href="#map"]').remove(); return; }
    const items = grouped(level(view)), at = new Map();
    for (const item of items) for (const c of item.calls) at.set(c.name, item.id);
    const edges = new Map();
    const seen = (name, side) => {
      const c = byName.get(name);
      return c && c[side] ? at.get(name) : undefined;
    };
    for (const item of items) for (const c of item.calls) for (const side of ["before", "after"])
      if (c[side]) for (const r of c[side][READS]) {
        const from = seen(r, side);
        if (from && from !== item.id) edges.set(`${from}\n${item.id}`, [from, item.id]);
      }
    const nodes = items.map((item) => {
      const [b, a] = [described(item, "before"), described(item, "after")];
      const single = item.calls.length === 1 ? item.calls[0].before || item.calls[0].after : null;
      return { id: item.id, lines: b.map((line, i) => (line.length > a[i].length ? line : a[i])), full: single ? `${single[LABEL]} ${single[PATH]}` : item.path || item.title };
    });
    const g = laidOut(nodes, [...edges.values()]);
    const of = new Map(items.map((item) => [item.id, item]));
    for (const side of ["before", "after"]) {
      const look = (id) => {
        const item = of.get(id), changed = item.calls.find((c) => c.stretch !== null), there = item.calls.some((c) => c[side]);
        const many = item.calls.length > 1;
        const single = item.calls[0];
        const cls = many ? `module${changed ? " touched" : ""}` : changed ? (side === "before" ? "old" : "new") : (single.before || single.after)[LABEL] ? "" : "end";
        return {
          cls, ghost: !there, lines: described(item, side), says: many ? "open" : changed ? "see what changed" : "",
          open: many ? () => enter(item) : changed ? () => show(changed.stretch) : null,
        };
      };
      const svg = graph(g, nodes, [...edges.values()], look, `the model ${side}`);
      svg.removeAttribute("width"); svg.removeAttribute("height");
      svg.setAttribute("tabindex", 0);
      fill(`map-${side}`, svg);
    }
    fit(g.graph());
    crumbs(focus);
  }

  function crumbs(focus) {
    const trail = [];
    for (let v = view; v; v = v.up) trail.unshift(v);
    fill("crumbs", ...trail.map((v, i) => {
      const word = v.title || "the model";
      return i === trail.length - 1 ? make("span", { "aria-current": "true", tabindex: -1 }, word)
        : make("button", { type: "button", onclick: () => { view = v; draw(true); } }, `${word} ›`);
    }));
    if (focus) $("crumbs").querySelector("[aria-current]").focus({ preventScroll: true });
  }

  // Both panels show the same part: what one is moved to, the other is.
  const both = () => document.querySelectorAll("#map svg");
  function look() { for (const svg of both()) svg.setAttribute("viewBox", `${box.x} ${box.y} ${box.w} ${box.h}`); }
  function fit({ width: w = 10, height: h = 10 }) {
    const panel = $("map-before").getBoundingClientRect(), shape = panel.width / Math.max(panel.height, 1) || 1;
    const least = Math.min(w, 1100), view_w = Math.max(least, 320); // text stays readable; the rest is moved to
    box = { x: (w - view_w) / 2, y: 0, w: view_w, h: view_w / shape, all: { w, h } };
    if (h < box.h) box.y = (h - box.h) / 2;
    look();
  }
  function zoom(by) {
    const { x, y, w, h } = box;
    box = { ...box, x: x + (w - w * by) / 2, y: y + (h - h * by) / 2, w: w * by, h: h * by };
    look();
  }
  function move(dx, dy) { box = { ...box, x: box.x + dx * box.w, y: box.y + dy * box.h }; look(); }
  function moving(panel) {
    let held = null;
    panel.addEventListener("pointerdown", (e) => { held = { x: e.clientX, y: e.clientY, box, moved: false }; });
    panel.addEventListener("pointermove", (e) => {
      if (!held) return;
      const scale = held.box.w / panel.clientWidth, dx = (e.clientX - held.x) * scale, dy = (e.clientY - held.y) * scale;
      if (Math.abs(e.clientX - held.x) + Math.abs(e.clientY - held.y) > 4 && !held.moved) { held.moved = true; panel.setPointerCapture(e.pointerId); }
      if (held.moved) { box = { ...held.box, x: held.box.x - dx, y: held.box.y - dy }; look(); }
    });
    const end = () => { held = null; };
    panel.addEventListener("pointerup", end);
    panel.addEventListener("pointercancel", end);
    panel.addEventListener("wheel", (e) => {
      if (!(e.ctrlKey || e.metaKey)) return;
      e.preventDefault();
      zoom(e.deltaY > 0 ? 1.15 : 1 / 1.15);
    }, { passive: false });
    panel.addEventListener("keydown", (e) => {
      const step = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] }[e.key];
      if (step) { e.preventDefault(); move(...step); } else if (e.key === "+") zoom(1 / 1.25); else if (e.key === "-") zoom(1.25);
    });
  }

  // ---- what was left -----------------------------------------------------------------------------------------------

  function refusals() {
    const words = $("left-search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = new Map();
    let shown = 0;
    for (const r of data.refused) {
      const text = `${r.code} ${r.where} ${r.detail}`.toLowerCase();
      if (!words.every((w) => text.includes(w))) continue;
      if (!found.has(r.code)) found.set(r.code, []);
      found.get(r.code).push(r);
      shown++;
    }
    $("left-count").textContent = data.refused.length
      ? `${shown} of ${plural(data.refused.length, "pair")} of neighbours that stay apart. Between others there is a non-linearity.`
      : "No two affine neighbours stay apart; between all others there is a non-linearity.";
    const groups = [...found].sort(([, a], [, b]) => b.length - a.length);
    fill("refusals", ...groups.map(([code, list]) => make("details", { id: `reason-${code}` },
      make("summary", {}, make("span", { class: "saved" }, `${list.length} ×`),
        make("span", {}, make("code", {}, code), ` – ${data.reasons[code].means}`)),
      make("div", { class: "inside" }, make("p", {}, make("b", {}, "What would lift it: "), data.reasons[code].lifts),
        make("ul", {}, ...list.slice(0, 200).map((r) => make("li", {}, make("code", {}, ...broken(r.where)), r.detail ? `: ${r.detail}` : ""))),
        list.length > 200 ? make("p", { class: "quiet" }, `… and ${list.length - 200} more; search for one`) : null))));
  }

  // ---- is it exact, what next --------------------------------------------------------------------------------------

  function verdict() {
    const v = data.error, small = (x) => (x === null ? "∞" : x === 0 ? "0" : x.toExponential(1));
    if (!v) return [make("p", {}, "Nothing was run: this is what a fold would do. ", make("code", {}, "convfold fold"), " compares the result with the original before it writes anything.")];
    if (v.nothing) return [make("p", {}, `There was nothing to compare: ${v.nothing}.`)];
    const term = (word, ...said) => [make("dt", {}, word), make("dd", {}, ...said)];
    return [
      make("p", {}, v.passed ? "Yes: the folded model is the same function, as far as numbers of this type can tell." : "No: the folded model is another function."),
      make("dl", {},
        ...term("off by", `${small(v.exactness)}, relative to the output's norm, computed in ${v.computed_in}: what is judged.`),
        ...term("allowed", `${small(v.allowed)}: twice the rounding error that the original makes itself, and one unit in the last place.`),
        ...term("in its own type", `the folded model is ${small(v.error)} from float64, the original ${small(v.own_error)}.`),
        ...term("interior", `${small(v.interior)}: positions of maps whose windows lie wholly inside.`),
        ...term("ring", `${small(v.ring)}: the outermost positions, where windows reach beyond the map; the place where a naive merge goes wrong.`),
        ...term("compared at", v.tried.join(", ") || "the example"))];
  }

  function steps() {
    const code = (text) => make("code", {}, text), name = data.name || "MODEL";
    const found = [];
    if (!data.error) found.push(["Fold it and write it down: ", code(`convfold fold ${name} -o folded.onnx`), " or ", code("convfold.fold(model, args).save(\"folded.onnx\")"), "."]);
    else found.push(["Write it down: ", code("result.save(\"folded.onnx\")"), ", or ", code(".pt2"), "."]);
    found.push(["See what it buys where it will run: ", code(`convfold bench ${name} folded.onnx --runtime onnxruntime`), "."]);
    if (data.refused.some((r) => r.code === "does-not-pay" || r.code === "slower-here"))
      found.push(["What does not pay here may pay elsewhere: name the runtime, ", code("--target onnxruntime"), ", or let it be timed, ", code("--objective measured"), "."]);
    if (data.refused.length) found.push(["Of one place in full, with the price of every form: ", code(`convfold explain ${name} --trace '${data.refused[0].where.split(" → ")[0]}'`), "."]);
    found.push(["Keep your modules, to go on working with the model: ", code("convfold.fold_(model, args)"), "."]);
    if (data.free.length) found.push([`Sizes that stay free: ${data.free.join(", ")}. Others are fixed to the example's.`]);
    found.push(["Quantise after folding, not before: eight-bit weights are left as they are."]);
    return found.map((parts) => make("li", {}, ...parts));
  }

  // ---- together ----------------------------------------------------------------------------------------------------

  function theme(dark) {
    document.documentElement.classList.toggle("dark", dark);
    $("theme").setAttribute("aria-pressed", String(dark));
  }

  // The model's inputs and one module that holds the rest say nothing: begin inside of it.
  for (let [only, ...rest] = level(view).filter((item) => item.calls.length > 1 || !item.id.startsWith("call"));
    only && !rest.length && only.id.startsWith("module"); [only, ...rest] = level(view).filter((item) => item.calls.length > 1))
    view = { path: only.path, only: null, title: segments(only.path).pop(), up: view };

  const byName = new Map(map.map((c) => [c.name, c]));
  $("version").textContent = data.version;
  $("headline").textContent = headline();
  fill("totals", ...totals());
  $("timed").textContent = data.notes.join(". ");
  stretches();
  refusals();
  fill("verdict", ...verdict());
  fill("steps", ...steps());
  for (const id of ["search", "least", "order"]) $(id).addEventListener("input", stretches);
  $("left-search").addEventListener("input", refusals);
  $("changed-tools").hidden = data.applied.length < 2;
  $("left-tools").hidden = data.refused.length < 2;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  theme(dark.matches);
  dark.addEventListener("change", (e) => theme(e.matches));
  $("theme").addEventListener("click", () => theme(!document.documentElement.classList.contains("dark")));
  draw();
  $("zoom-in").addEventListener("click", () => zoom(1 / 1.25));
  $("zoom-out").addEventListener("click", () => zoom(1.25));
  $("zoom-fit").addEventListener("click", () => { box = { ...box, x: 0, y: 0, w: box.all.w, h: box.all.h }; look(); });
  for (const side of ["before", "after"]) moving($(`map-${side}`));
})();

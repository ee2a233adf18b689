// A small subset of PyTorch's text → layers → what they merge into.
//
//     nn.Sequential(…) or […], nested or not; or one layer a line, each with `name =` before it or not; # comments
//     nn.Conv1d, nn.Conv2d (in, out, kernel, stride=, padding=, dilation=, groups=, bias=)   numbers or tuples of them
//     nn.BatchNorm1d, nn.BatchNorm2d (n)         taken in eval mode
//     nn.Linear (in, out, bias=)
//     nn.Identity, nn.Dropout, nn.Dropout2d      nothing, in eval mode
//     any other nn.Name(…)                       ends a stretch
import { macs } from "./cost.ts";
import { gcd, joined } from "./window.ts";
import type { Window } from "./window.ts";

export type Layer = {
  kind: "conv" | "norm" | "linear" | "nothing" | "other";
  name: string;
  source: string;
  line: number;
  dims: number;
  inputs: number;
  outputs: number;
  windows: Window[];
  groups: number;
  bias: boolean;
};

type Value = number | boolean | string | Value[];
type Token = { text: string; line: number; start: number; end: number };

const TOKEN = /\s+|#[^\n]*|([A-Za-z_][\w.]*|-?\d+(?:\.\d*)?(?:e-?\d+)?|"[^"\n]*"|'[^'\n]*'|[()[\],=:])|(.)/gy;

function fail(line: number, what: string): never {
  throw new Error(`Line ${line}: ${what}`);
}

function tokens(text: string): Token[] {
  const found: Token[] = [];
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
export function parse(text: string): Layer[] {
  const all = tokens(text);
  const layers: Layer[] = [];
  let at = 0;
  const peek = (ahead = 0): string => all[at + ahead]?.text ?? "";
  const line = (): number => (all[at] ?? all[all.length - 1])?.line ?? 1;
  const take = (text: string): void => {
    if (peek() !== text) fail(line(), `expected “${text}”, found ${peek() ? `“${peek()}”` : "the end"}.`);
    at++;
  };
  const value = (): Value => {
    const text = peek();
    if (text === "(" || text === "[") {
      at++;
      const list: Value[] = [];
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
  const item = (): void => {
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
    const [args, named]: [Value[], { [name: string]: Value }] = [[], {}];
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
  const list = (open: string, close: string): void => {
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

const PARAMETERS: { [kind: string]: string[] } = {
  conv: ["in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias", "padding_mode"],
  linear: ["in_features", "out_features", "bias"],
};

function layer(name: string, source: string, line: number, args: Value[], named: { [name: string]: Value }): Layer {
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
  const given: { [name: string]: Value } = { ...named };
  args.forEach((v, n) => {
    if (!known[n]) fail(line, `${name} has ${args.length} arguments without a name, at most ${known.length} are known.`);
    given[known[n]] = v;
  });
  for (const key of Object.keys(given)) if (!known.includes(key)) fail(line, `${name} has no argument “${key}” that is read here. Leave it out.`);
  const need = (key: string): number => {
    const v = given[key];
    if (!isCount(v)) fail(line, `${name} needs ${key} as a whole number from 1, found ${v === undefined ? "none" : String(v)}.`);
    return v;
  };
  const bias = given.bias ?? true;
  if (typeof bias !== "boolean") fail(line, `bias is True or False, found ${String(bias)}.`);
  if (!conv) return { ...base, kind: "linear", dims: 0, inputs: need("in_features"), outputs: need("out_features"), bias };
  const dims = Number(conv[1]);
  const per = (key: string, otherwise: Value, least: number): number[] => {
    const v = given[key] ?? otherwise;
    const list = Array.isArray(v) ? v : new Array(dims).fill(v);
    if (list.length !== dims || !list.every((n) => Number.isInteger(n) && (n as number) >= least))
      fail(line, `${name}: ${key} is a whole number from ${least}, or ${dims} of them, found ${JSON.stringify(v)}.`);
    return list as number[];
  };
  if ((given.padding_mode ?? "zeros") !== "zeros")
    fail(line, `padding_mode="${String(given.padding_mode)}" copies pixels; only zeros are read here.`);
  if (given.kernel_size === undefined) fail(line, `${name} needs kernel_size.`);
  const [inputs, outputs, groups] = [need("in_channels"), need("out_channels"), given.groups === undefined ? 1 : need("groups")];
  if (inputs % groups || outputs % groups)
    fail(line, `${inputs} → ${outputs} channels cannot be split into ${groups} groups.`);
  const [kernel, stride, dilation] = [per("kernel_size", 1, 1), per("stride", 1, 1), per("dilation", 1, 1)];
  let padding: number[];
  if (given.padding === "same") {
    const whole = kernel.map((k, n) => dilation[n] * (k - 1));
    if (whole.some((p) => p % 2)) fail(line, `padding="same" of an even kernel pads one side more; give it in numbers.`);
    if (stride.some((s) => s > 1)) fail(line, `padding="same" goes with stride 1 only.`);
    padding = whole.map((p) => p / 2);
  } else padding = given.padding === "valid" ? kernel.map(() => 0) : per("padding", 0, 0);
  const windows = kernel.map((taps, n) => ({ taps, stride: stride[n], dilation: dilation[n], up: 1, lo: padding[n] }));
  return { ...base, kind: "conv", dims, inputs, outputs, windows, groups, bias };
}

function isCount(v: Value | undefined): v is number {
  return typeof v === "number" && Number.isInteger(v) && v > 0;
}

/** Layers that follow one another without anything between that is not affine; and what ends it. */
export type Stretch = { layers: Layer[]; end: Layer | null };

/** Cut where a layer is not affine. */
export function stretches(layers: Layer[]): Stretch[] {
  const found: Stretch[] = [{ layers: [], end: null }];
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
export type Merged = { layer: Layer; mended: boolean };

/**
 * What some layers in a row merge into. Windows as in window.ts; groups gcd(g1, g2); a bias where one has it.
 * A second layer with padding reads ghosts, unless the first has no bias and pads by d·(k − 1) or more: then they are zero.
 */
export function merge(layers: Layer[]): Merged {
  return layers.slice(1).reduce<Merged>((whole, next) => pair(whole, next), { layer: layers[0], mended: false });
}

function pair(whole: Merged, second: Layer): Merged {
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
export function outputSize(one: Layer, size: number[]): number[] {
  return one.windows.map((w, n) => Math.floor((size[n] + 2 * w.lo - w.dilation * (w.taps - 1) - 1) / w.stride) + 1);
}

/** The size after some layers; throws where nothing is left. */
export function sizeAfter(layers: Layer[], size: number[]): number[] {
  return layers.reduce((at, one) => {
    if (one.kind !== "conv") return at;
    const next = outputSize(one, at);
    if (next.some((n) => n < 1)) fail(one.line, `${one.source} leaves nothing of ${at.join(" × ")} positions. Give a larger input.`);
    return next;
  }, size);
}

/** Multiply-adds of one layer; a batch norm has none, as the library counts. */
export function work(one: Layer, size: number[]): number {
  if (one.kind === "norm") return 0;
  const out = one.kind === "conv" ? outputSize(one, size) : [];
  return macs(one.inputs, one.outputs, one.windows.map((w) => w.taps), out, one.groups);
}

/** Layers first … last − 1 as one, or as they are where that is one layer. */
export type Group = { first: number; last: number; macs: number; merged: Merged };

/**
 * The cheapest way to cut a stretch into groups that are merged, by multiply-adds; of equal ones that with fewer layers.
 * Dynamic programming: best(n) = min over m of best(m) + cost of m … n − 1 as one.
 */
export function grouped(layers: Layer[], size: number[]): Group[] {
  const best: { macs: number; groups: Group[] }[] = [{ macs: 0, groups: [] }];
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
export function printed(one: Layer): string {
  if (one.kind === "linear") return `Linear(in_features=${one.inputs}, out_features=${one.outputs}, bias=${one.bias ? "True" : "False"})`;
  if (one.kind === "norm") return one.source.replace(/^nn\./, "");
  const per = (values: number[]): string => `(${values.join(", ")}${values.length === 1 ? "," : ""})`;
  const each = (of: (w: Window) => number): number[] => one.windows.map(of);
  let said = `Conv${one.dims}d(${one.inputs}, ${one.outputs}, kernel_size=${per(each((w) => w.taps))}, stride=${per(each((w) => w.stride))}`;
  if (each((w) => w.lo).some((n) => n !== 0)) said += `, padding=${per(each((w) => w.lo))}`;
  if (each((w) => w.dilation).some((n) => n !== 1)) said += `, dilation=${per(each((w) => w.dilation))}`;
  if (one.groups !== 1) said += `, groups=${one.groups}`;
  return said + (one.bias ? ")" : ", bias=False)");
}

export type Answer = { before: number; after: number; code: string; notes: string[] };

/** Everything about a pasted text on an input of this size: the code that merges, its counts, and what to know. */
export function answer(text: string, size: number): Answer {
  const layers = parse(text);
  if (!layers.length) throw new Error("There are no layers yet. Paste some, like nn.Conv2d(3, 16, 3).");
  const real = layers.filter((one) => one.kind !== "nothing");
  const dims = Math.max(...real.map((one) => one.dims), 0);
  const lines = ["import convfold", "from torch import nn", "", "# your own layers, with their weights, in place of these"];
  const notes: string[] = [];
  const parts: string[] = [];
  let [before, after, id] = [0, 0, 0];
  let at: number[] = new Array(dims).fill(size);
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

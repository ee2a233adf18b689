// Two padded layers on an image that ends. First: A, bias b1, padding p1. Second: B, bias b2, padding p2. Stride 1.
import { compose, grid, layer, total } from "./grid.ts";
import type { Grid } from "./grid.ts";

export type Pair = { a: Grid; b1: number; p1: number; b: Grid; b2: number; p2: number };

/** How many rows (columns) of B lie beyond the first layer's output: at its low end, at its high end. */
export type Cut = { top: number; bottom: number; left: number; right: number };

/** The two layers run in turn: what is true. */
export function inTurn(x: Grid, { a, b1, p1, b, b2, p2 }: Pair): Grid {
  return layer(layer(x, a, b1, p1), b, b2, p2);
}

/** One layer, kernel A * B, padding p1 + p2, bias b2 + b1·ΣB: wrong on the ring that reads ghosts. */
export function naive(x: Grid, pair: Pair): Grid {
  const { kernel, bias } = piece(pair, { top: 0, bottom: 0, left: 0, right: 0 });
  return layer(x, kernel, bias, pair.p1 + pair.p2);
}

/**
 * The kernel and bias of the outputs whose window is cut like this: B keeps only the rows and columns that lie inside,
 * and is then composed as everywhere. K_cut = A * B_cut, b_cut = b2 + b1·ΣB_cut.
 */
export function piece({ a, b1, b, b2 }: Pair, cut: Cut): { kernel: Grid; bias: number } {
  const [high, wide] = [b.length, b[0].length];
  const kept = b.map((row, r) =>
    row.map((v, c) => (r >= cut.top && r < high - cut.bottom && c >= cut.left && c < wide - cut.right ? v : 0)),
  );
  return { kernel: compose(a, kept), bias: b2 + b1 * total(kept) };
}

/** How the window of output (r, c) is cut, for an image of so many rows and columns. */
export function cutAt({ a, p1, b, p2 }: Pair, rows: number, columns: number, r: number, c: number): Cut {
  const [high, wide] = [rows + 2 * p1 - a.length + 1, columns + 2 * p1 - a[0].length + 1]; // of the first's output
  const beyond = (n: number): number => Math.max(0, n);
  return {
    top: beyond(p2 - r),
    bottom: beyond(r - p2 + b.length - high),
    left: beyond(p2 - c),
    right: beyond(c - p2 + b[0].length - wide),
  };
}

/** One kernel for the interior and one of its own for every way a window is cut: right everywhere. */
export function exact(x: Grid, pair: Pair): Grid {
  const { p1, p2, a, b } = pair;
  const [rows, columns] = [x.length, x[0].length];
  const pad = p1 + p2;
  const known = new Map<string, { kernel: Grid; bias: number }>();
  const out = (size: number, k: number): number => size + 2 * pad - k + 1;
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

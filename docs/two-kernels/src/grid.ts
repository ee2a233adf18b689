// One channel, two dimensions: kernels and images as rows of numbers.

export type Grid = number[][];

/** Rows × columns of what `value` says. */
export function grid(rows: number, columns: number, value: (r: number, c: number) => number = () => 0): Grid {
  return Array.from({ length: rows }, (_, r) => Array.from({ length: columns }, (_, c) => value(r, c)));
}

/** K[r, c] = Σ A[r1, c1]·B[r2, c2] over r1 + r2 = r, c1 + c2 = c: the full convolution. */
export function compose(a: Grid, b: Grid): Grid {
  const k = grid(a.length + b.length - 1, a[0].length + b[0].length - 1);
  a.forEach((row, r1) =>
    row.forEach((x, c1) => b.forEach((row2, r2) => row2.forEach((y, c2) => (k[r1 + r2][c1 + c2] += x * y)))),
  );
  return k;
}

/** The pairs ((r1, c1), (r2, c2)) of cells of A and B whose products make K[r, c]. */
export function parents(r: number, c: number, a: Grid, b: Grid): [number, number, number, number][] {
  const found: [number, number, number, number][] = [];
  a.forEach((row, r1) =>
    row.forEach((_, c1) => {
      if (b[r - r1]?.[c - c1] !== undefined) found.push([r1, c1, r - r1, c - c1]);
    }),
  );
  return found;
}

/** y[r, c] = b + Σ K[i, j]·x[r + i − pad, c + j − pad], zeros beyond the image: as PyTorch's Conv2d, stride 1. */
export function layer(x: Grid, k: Grid, bias = 0, pad = 0): Grid {
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
export function minus(a: Grid, b: Grid): Grid {
  return a.map((row, r) => row.map((v, c) => v - b[r][c]));
}

/** a + b, cell by cell. */
export function plus(a: Grid, b: Grid): Grid {
  return a.map((row, r) => row.map((v, c) => v + b[r][c]));
}

/** max |cell|. */
export function largest(a: Grid): number {
  return a.reduce((most, row) => row.reduce((m, v) => Math.max(m, Math.abs(v)), most), 0);
}

/** The sum of all cells. */
export function total(a: Grid): number {
  return a.reduce((sum, row) => row.reduce((s, v) => s + v, sum), 0);
}

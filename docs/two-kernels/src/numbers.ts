// Numbers as people read them, and numbers to begin with.

/** Two decimals at most, a real minus sign: −0.25, 3, 1.5. */
export function text(v: number, digits = 2): string {
  const rounded = Number(v.toFixed(digits));
  return String(rounded === 0 ? 0 : rounded).replace("-", "−");
}

/** A difference: 0 where it is 0, two digits and a power of ten else. */
export function tiny(v: number): string {
  return v === 0 ? "0" : v >= 0.01 ? text(v, 3) : v.toExponential(1).replace("e", " · 10^").replace("-", "−");
}

/** With its SI prefix: 7.35 G, 651 M, 131. */
export function count(v: number): string {
  for (const [size, prefix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]] as [number, string][])
    if (Math.abs(v) >= size) return `${Number((v / size).toPrecision(3))} ${prefix}`.replace("-", "−");
  return text(v, 0);
}

/** A percentage change with its sign: −24.4 %. */
export function change(before: number, after: number): string {
  if (before === 0) return "";
  const percent = (100 * (after - before)) / before;
  return `${percent > 0 ? "+" : percent < 0 ? "−" : ""}${Math.abs(percent).toFixed(1)} %`;
}

/** Pseudo-random multiples of 1/4 in ±`most`: sums and products of such are exact in float64. */
export function quarters(seed: number, most = 2): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return Math.round((((z ^ (z >>> 14)) >>> 0) / 2 ** 32) * 8 * most - 4 * most) / 4;
  };
}

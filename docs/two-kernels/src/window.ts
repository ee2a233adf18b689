// One axis with everything: y[n] = Σ_t K[t]·x↑u[s·n + d·t − lo], x↑u being x with u − 1 zeros between samples.

export type Window = { taps: number; stride: number; dilation: number; up: number; lo: number };

/** Greatest common divisor; gcd(0, n) = n. */
export function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

/** Where tap (i of the first, j of the second) of the merged window lies: s1·d2·j + u2·d1·i. */
export function place(first: Window, second: Window, i: number, j: number): number {
  return first.stride * second.dilation * j + second.up * first.dilation * i;
}

/** Are the two one window? Where gcd(u2, s1) = 1; else the phase changes from output to output. */
export function isOne(first: Window, second: Window): boolean {
  return gcd(second.up, first.stride) === 1;
}

/** The window of both: stride s1·s2, upsampling u1·u2, lo = s1·lo2 + u2·lo1, dilation the widest that meets all taps. */
export function joined(first: Window, second: Window): Window {
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
export function taps(a: number[], first: Window, b: number[], second: Window): number[] {
  const whole = joined(first, second);
  const k: number[] = new Array(whole.taps).fill(0);
  b.forEach((y, j) => a.forEach((x, i) => (k[place(first, second, i, j) / whole.dilation] += x * y)));
  return k;
}

/** The samples of x that output n reads, with the tap that reads each: those of x↑u that are no inserted zeros. */
export function reads(w: Window, n: number): { tap: number; at: number }[] {
  const found: { tap: number; at: number }[] = [];
  for (let tap = 0; tap < w.taps; tap++) {
    const at = w.stride * n + w.dilation * tap - w.lo;
    if (at % w.up === 0) found.push({ tap, at: at / w.up });
  }
  return found;
}

/** Output n of a layer on a signal without end, given as a function. */
export function output(x: (at: number) => number, k: number[], w: Window, n: number): number {
  return reads(w, n).reduce((sum, { tap, at }) => sum + k[tap] * x(at), 0);
}

/**
 * The same in fewer taps, where stride and upsampling share a factor g: only taps with d·t ≡ lo (mod g) meet samples of
 * x, the others always meet inserted zeros. Stride and upsampling are divided by g. One tap, a zero, where none does.
 */
export function reduced(k: number[], w: Window): { k: number[]; window: Window } {
  const g = gcd(w.up, w.stride);
  const [stride, up] = [w.stride / g, w.up / g];
  const kept = k.map((_, t) => t).filter((t) => (w.dilation * t - w.lo) % g === 0);
  if (!kept.length) return { k: [0], window: { taps: 1, stride, dilation: 1, up, lo: 0 } };
  const dilation = kept.length > 1 ? (w.dilation * (kept[1] - kept[0])) / g : 1;
  const lo = (w.lo - w.dilation * kept[0]) / g;
  return { k: kept.map((t) => k[t]), window: { taps: kept.length, stride, dilation, up, lo } };
}

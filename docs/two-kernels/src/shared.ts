// The two kernels of stations 1 and 2, which are the same two.

export const two = { a: [1, 2, -1], b: [0.5, -1, 1.5] };

const watching: (() => void)[] = [];

/** Call this whenever the two change; and now. */
export function watch(changed: () => void): void {
  watching.push(changed);
  changed();
}

/** Say that they changed. */
export function changed(): void {
  watching.forEach((tell) => tell());
}

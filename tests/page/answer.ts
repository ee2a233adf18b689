// [{call: "polynomial.product", args: […]}, …] on standard input → [{value} or {error}, …] on standard output.
import { readFileSync } from "node:fs";

const answers = [];
for (const { call, args } of JSON.parse(readFileSync(0, "utf8"))) {
  const [file, name] = call.split(".");
  const module = await import(new URL(`../../docs/two-kernels/src/${file}.ts`, import.meta.url).href);
  try {
    answers.push({ value: module[name](...args) });
  } catch (error) {
    answers.push({ error: (error as Error).message });
  }
}
console.log(JSON.stringify(answers));

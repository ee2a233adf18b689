// src/*.ts → page.js: one classic script, because modules do not load from file:// in every browser.
//
//     node build.mjs            writes page.js
//     node build.mjs --check    fails where page.js is not what src/ gives
//
// Types are stripped by Node itself (≥ 22.13), and every module becomes a function of its own. Imports and exports are
// each one line, `import { a, b } from "./name.ts";` and `export function a(…)` or `export const a = …`.
import { readFileSync, writeFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";

const here = new URL("./", import.meta.url);
const done = new Map(); // name of a module → its text in the bundle, in the order they must run

function variable(name) {
  return `$${name.replaceAll("-", "_")}`;
}

function add(name, asking = []) {
  if (done.has(name)) return;
  if (asking.includes(name)) throw new Error(`modules import each other: ${[...asking, name].join(" → ")}`);
  const source = stripTypeScriptTypes(readFileSync(new URL(`src/${name}.ts`, here), "utf8"));
  const names = [];
  const body = source
    .replace(/^import\s*\{([^}]*)\}\s*from "\.\/([\w-]+)\.ts";/gm, (_, list, from) => {
      add(from, [...asking, name]);
      const kept = list.split(",").map((n) => n.trim()).filter(Boolean).join(", ");
      return kept ? `const { ${kept} } = ${variable(from)};` : "";
    })
    .replace(/^export (function\*?|const|let|class) (\w+)/gm, (_, kind, what) => {
      names.push(what);
      return `${kind} ${what}`;
    });
  if (/^(import|export)\b/m.test(body)) throw new Error(`src/${name}.ts: an import or export that is not one line`);
  const lines = body.split("\n").map((line) => line.trimEnd()).filter(Boolean).join("\n");
  done.set(name, `const ${variable(name)} = (() => {\n${lines}\nreturn { ${names.join(", ")} };\n})();\n`);
}

add("page");
const text =
  `// Made from src/ by build.mjs; change those.\n"use strict";\n(() => {\n` + [...done.values()].join("") + "})();\n";
const target = new URL("page.js", here);
if (process.argv.includes("--check")) {
  if (readFileSync(target, "utf8") !== text) {
    console.error("page.js is not what src/ gives; run: node docs/two-kernels/build.mjs");
    process.exit(1);
  }
} else writeFileSync(target, text);

// How the clients in JavaScript tell what they see: see the README beside.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const [address, folder, offer] = process.argv.slice(2);

export { address };
export const offersCompression = offer === "offer";
export const IN_FRAGMENTS = ["repeated.txt", "random.bin"];
export const FRAGMENT = 10_007;
export const BURST = Array.from({ length: 200 }, (_, number) => String(number));
export const TOO_MUCH = (1 << 20) + 1;

export function tell(check, saw) {
  console.log(JSON.stringify({ check, saw }));
}

export function describe(content, isBinary) {
  const hash = createHash("sha256").update(content).digest("hex");
  return `${isBinary ? "binary" : "text"} ${content.length} ${hash}`;
}

/** The names of what is to be sent. */
export function payloads() {
  return readdirSync(folder).sort();
}

export function payload(name) {
  return { content: readFileSync(join(folder, name)), isBinary: name.endsWith(".bin") };
}

/** The colours are read from the file that the pages get. WCAG 2.2: 1.4.3 and 1.4.11. */

import { describe, expect, it } from "vitest";
import text from "../src/styles/tokens.css?raw";

const tokens = new Map<string, [string, string]>();
for (const [, name, light, dark] of text.matchAll(/--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)/g)) {
  tokens.set(name!, [light!, dark!]);
}

function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const c = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
}

function ratio(a: string, b: string, theme: 0 | 1): number {
  const [x, y] = [luminance(tokens.get(a)![theme]), luminance(tokens.get(b)![theme])];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}

const GROUNDS = ["canvas", "surface", "selected", "sunken", "overlay"];
const STATES = ["draft", "waiting", "running", "warning", "good", "bad"];

describe.each([
  ["light", 0],
  ["dark", 1],
] as const)("%s", (_name, theme) => {
  it.each(["text", "text-2", "text-3", "accent"].flatMap((ink) => GROUNDS.map((ground) => [ink, ground])))("%s is read on %s", (ink, ground) => {
    expect(ratio(ink!, ground!, theme)).toBeGreaterThanOrEqual(4.5);
  });
  it.each(STATES)("%s is read on its tint and on the page", (state) => {
    expect(ratio(state, `${state}-tint`, theme)).toBeGreaterThanOrEqual(4.5);
    expect(ratio(state, "canvas", theme)).toBeGreaterThanOrEqual(4.5);
  });
  it("what was found is read where it is marked, and a button's word on its colour", () => {
    expect(ratio("text", "mark", theme)).toBeGreaterThanOrEqual(4.5);
    expect(ratio("on-accent", "accent", theme)).toBeGreaterThanOrEqual(4.5);
  });
  it.each(["border", "focus", ...Array.from({ length: 6 }, (_, n) => `series-${n + 1}`)])("%s is seen on the page", (line) => {
    expect(ratio(line, "canvas", theme)).toBeGreaterThanOrEqual(3);
    expect(ratio(line, "surface", theme)).toBeGreaterThanOrEqual(3);
  });
});

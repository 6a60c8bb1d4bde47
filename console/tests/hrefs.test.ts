import { expect, it, vi } from "vitest";

vi.stubGlobal("document", { baseURI: "http://box/tools/simyard/" });
const { archiveHref, fileHref, jobHref } = await import("../src/lib/hrefs");
const { baseName, messageOf, plural } = await import("../src/lib/words");

it("pages are below the router's base, files below the prefix", () => {
  expect(jobHref("a b")).toBe("/jobs/a%20b");
  expect(jobHref("x", "log", { run: "3", path: "a/b.log", at: "" })).toBe("/jobs/x/log?path=a%2Fb.log&run=3");
  expect(fileHref("f")).toBe("/tools/simyard/api/v2/files/f/contents/");
  expect(archiveHref("x", "z")).toBe("/tools/simyard/api/v2/jobs/x/archives/z/");
});

it("the first run goes without a word", () => {
  expect(jobHref("x", "files", { run: "1", q: "vtp" })).toBe("/jobs/x/files?q=vtp");
});

it("words stand as in a sentence", () => {
  expect([0, 1, 2, undefined].map((n) => plural(n, "run"))).toEqual(["runs", "run", "runs", "runs"]);
  expect([baseName("a/b.txt"), baseName("b.txt"), baseName("a/")]).toEqual(["b.txt", "b.txt", ""]);
  expect([messageOf(new Error("no")), messageOf("gone")]).toEqual(["no", "gone"]);
});

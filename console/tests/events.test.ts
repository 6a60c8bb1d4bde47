import { beforeEach, expect, it, vi } from "vitest";

vi.stubGlobal("document", { baseURI: "http://box/tools/simyard/" });
const { Lease } = await import("../src/lib/events");
const { prefix, fieldErrors, address } = await import("../src/api/client");
const { write } = await import("../src/lib/query");

class Shelf {
  private readonly kept = new Map<string, string>();
  getItem = (name: string): string | null => this.kept.get(name) ?? null;
  setItem = (name: string, value: string): void => void this.kept.set(name, value);
  removeItem = (name: string): void => void this.kept.delete(name);
}

let now = 0;
let shelf = new Shelf();
const tab = (name: string) => new Lease(shelf, name, () => now);

beforeEach(() => {
  now = 1_000_000;
  shelf = new Shelf();
});

it("one tab leads, as long as it is awake", () => {
  const [a, b] = [tab("a"), tab("b")];
  expect([a.hold(), b.hold(), a.hold()]).toEqual([true, false, true]);
  now += 5_000;
  expect(b.hold()).toBe(false);
  now += 2_000;
  expect(b.hold()).toBe(true);
  expect(a.hold()).toBe(false); // it was asleep, and learns that it does not lead any more
});

it("who leaves makes room at once, and only for himself", () => {
  const [a, b] = [tab("a"), tab("b")];
  a.hold();
  b.free();
  expect(b.hold()).toBe(false);
  a.free();
  expect(b.hold()).toBe(true);
});

it("addresses have the prefix and no empty parameters", () => {
  expect(prefix).toBe("/tools/simyard");
  expect(address("jobs/", { q: "", status: ["Queued", "Executing"], page: 2, since: undefined })).toBe("/tools/simyard/api/v2/jobs/?status=Queued%2CExecuting&page=2");
  expect(write({ b: "2", a: "1", c: "" })).toBe("a=1&b=2");
});

it("messages of a refused body are at the path of their field", () => {
  const body = { detail: "no", name: ["too long"], jobanalyses: [{}, { hardware: { coresPerSlot: ["a", "b"] } }], nonFieldErrors: ["together"] };
  expect(fieldErrors(body)).toEqual({ name: ["too long"], "jobanalyses.1.hardware.coresPerSlot": ["a", "b"], "": ["together"] });
  expect(fieldErrors("<html>")).toEqual({});
});

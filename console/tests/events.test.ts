import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

vi.stubGlobal("document", { baseURI: "http://box/tools/simyard/" });
const { Lease, gathered, onEvent, onProgress, tell } = await import("../src/lib/events");
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

it("how far a run is, is told apart from what happened to it", () => {
  const heard: string[] = [];
  const stops = [onEvent((name) => heard.push(name)), onProgress(({ job, progress }) => heard.push(`${job} ${progress}`))];
  tell({ name: "run", data: { job: "hTrNa", run: "1", state: "running" }, id: "" });
  tell({ name: "run", data: { job: "hTrNa", run: "1", progress: 0.5, convergence: null }, id: "" });
  // Of a reader that was slow, both in one.
  tell({ name: "run", data: { job: "hTrNa", run: "1", progress: 0.5, state: "completed" }, id: "" });
  for (const stop of stops) stop();
  tell({ name: "run", data: { job: "hTrNa", run: "1", progress: 0.6 }, id: "" });
  expect(heard).toEqual(["run", "hTrNa 0.5", "run"]);
});

describe("events that are gathered", () => {
  const page = Object.assign(new EventTarget(), { baseURI: "http://box/", visibilityState: "visible" });
  const see = (state: "visible" | "hidden"): void => {
    page.visibilityState = state;
    page.dispatchEvent(new Event("visibilitychange"));
  };
  const isMine = (name: string): boolean => name === "job";
  let calls = 0;
  let stop = (): void => {};

  beforeEach(() => {
    vi.stubGlobal("document", page);
    vi.useFakeTimers();
    see("visible");
    calls = 0;
  });
  afterEach(() => {
    stop();
    vi.useRealTimers();
  });

  it("have something done once, and only those that concern it", async () => {
    stop = gathered(100, isMine, () => void calls++);
    for (const name of ["job", "run", "job", "job"]) tell({ name, data: {}, id: "" });
    await vi.advanceTimersByTimeAsync(99);
    expect(calls).toBe(0);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(calls).toBe(1);
    tell({ name: "run", data: {}, id: "" });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(calls).toBe(1);
    tell({ name: "job", data: {}, id: "" });
    await vi.advanceTimersByTimeAsync(100);
    expect(calls).toBe(2);
  });

  it("wait until what they had done is over", async () => {
    let over = (): void => {};
    stop = gathered(100, isMine, () => {
      calls += 1;
      return new Promise((resolve) => (over = resolve));
    });
    tell({ name: "job", data: {}, id: "" });
    await vi.advanceTimersByTimeAsync(100);
    tell({ name: "job", data: {}, id: "" });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(calls).toBe(1);
    over();
    await vi.advanceTimersByTimeAsync(100);
    expect(calls).toBe(2);
  });

  it("wait until the page is looked at", async () => {
    stop = gathered(100, isMine, () => void calls++);
    tell({ name: "job", data: {}, id: "" });
    see("hidden"); // within the wait
    await vi.advanceTimersByTimeAsync(1_000);
    tell({ name: "job", data: {}, id: "" });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(calls).toBe(0);
    see("visible");
    await vi.advanceTimersByTimeAsync(100);
    expect(calls).toBe(1);
    see("hidden");
    see("visible");
    await vi.advanceTimersByTimeAsync(1_000);
    expect(calls).toBe(1); // nothing was heard meanwhile
  });

  it("do nothing any more once it is stopped", async () => {
    stop = gathered(100, isMine, () => void calls++);
    tell({ name: "job", data: {}, id: "" });
    stop();
    see("hidden");
    see("visible");
    tell({ name: "job", data: {}, id: "" });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(calls).toBe(0);
  });
});

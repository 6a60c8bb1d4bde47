import { describe, expect, it } from "vitest";
import { farOf, reasonOf } from "../src/lib/studies";
import { extent, merged, numeric, padded, sorted, ticks, type Columns, type Run } from "../src/pages/study/data";
import { shownState } from "../src/ui/state";

const reply = (change: Partial<Columns>): Columns => ({
  version: "1",
  isWhole: true,
  count: 0,
  id: [],
  status: [],
  duration: [],
  coreHours: [],
  inputs: {},
  outputs: {},
  reasons: {},
  optimal: [],
  nominal: null,
  ...change,
});

describe("columns", () => {
  const whole = reply({ id: ["1", "2", "3"], status: ["done", "running", "planned"], duration: [2, null, null], inputs: { x: [1, 2, 3] }, outputs: { f: [0.5, null, null] }, optimal: ["1"] });

  it("become runs, and a difference changes only what it names", () => {
    const first = merged(new Map(), whole);
    const second = merged(first, reply({ isWhole: false, id: ["2"], status: ["failed"], inputs: { x: [2] }, outputs: { f: ["NaN"] }, reasons: { 2: "diverged" }, optimal: [] }));
    expect(second.get("1")).toMatchObject({ status: "done", isOptimal: false, inputs: { x: 1 }, outputs: { f: 0.5 } });
    expect(second.get("2")).toMatchObject({ status: "failed", reason: "diverged", outputs: { f: "NaN" } });
    expect(second.get("3")).toEqual(first.get("3"));
    expect(first.get("2")!.status).toBe("running");
  });

  it("a whole reply leaves nothing of before", () => {
    expect([...merged(merged(new Map(), whole), reply({ id: ["9"], status: ["done"] })).keys()]).toEqual(["9"]);
  });
});

it("what has no value comes last, whichever way", () => {
  const run = (id: string, f: Run["outputs"][string]): Run => ({ id, status: "done", duration: null, coreHours: null, inputs: {}, outputs: { f }, reason: "", isOptimal: false });
  const runs = [run("1", null), run("2", 3), run("3", "NaN"), run("4", -1), run("5", 3)];
  expect(sorted(runs, "outputs.f").map((each) => each.id)).toEqual(["4", "2", "5", "1", "3"]);
  expect(sorted(runs, "-outputs.f").map((each) => each.id)).toEqual(["2", "5", "4", "1", "3"]);
});

it("only numbers are drawn", () => {
  expect([1, "2.5", "NaN", "Infinity", "", "steel", null].map(numeric)).toEqual([1, 2.5, null, null, null, null, null]);
});

it("ticks are round and within", () => {
  expect(ticks(0, 1)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
  expect(ticks(-0.013, 0.027, 4)).toEqual([-0.01, 0, 0.01, 0.02]);
  expect(ticks(3, 3)).toEqual([3]);
});

it("the axes go beyond what is there, and what is told does not", () => {
  const range = extent([3, -5, 10]);
  expect(range).toEqual([-5, 10]);
  expect(padded(range)).toEqual([-5.75, 10.75]);
  expect(padded(extent([4, 4]))).toEqual([3.8, 4.2]);
  expect(extent([])).toEqual([0, 1]);
});

describe("how far a study is", () => {
  const far = (status: string, reason: string | null, total: number, ended: number, done: number | null, failed: number | null) =>
    farOf({ status, reason, study: { total, ended, done, failed } });

  it("counts what is done, not what was stopped", () => {
    expect(far("Executing", null, 12, 5, 4, 1)).toEqual({ share: 4 / 12, text: "4 of 12 done, 1 failed" });
    expect(far("Completed", "Stopped by the user; 4 of 12 runs completed", 12, 12, 4, 0)).toEqual({ share: 4 / 12, text: "4 of 12 done" });
  });

  it("says no more than is known of one with too many runs to count", () => {
    expect(far("Executing", null, 9000, 216, null, null)).toEqual({ share: 216 / 9000, text: "216 of 9000 ended" });
    expect(far("Completed", "Stopped by the user; 216 of 9000 runs completed", 9000, 9000, null, null)).toEqual({ share: null, text: "9000 runs" });
    expect(far("Completed", "Completed successfully", 9000, 9000, null, null)).toEqual({ share: 1, text: "9000 of 9000 done" });
  });

  it("has a reason where it did not end well, and a badge that says so", () => {
    const reason = "A run failed: none of 4 runs completed. Run 1: it had enough";
    expect(reasonOf({ status: "Completed", reason })).toBe(reason);
    expect(reasonOf({ status: "Completed", reason: "Completed successfully" })).toBe("");
    expect(reasonOf({ status: "Queued", reason: "no free cores" })).toBe("");
    expect(shownState("Completed", null, reason).word).toBe("Failed");
    expect(shownState("Completed", null, "3 of 4 runs completed. Run 2 failed: it had enough").word).toBe("Ended");
  });
});

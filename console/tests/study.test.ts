import { describe, expect, it } from "vitest";
import { extent, merged, numeric, padded, sorted, ticks, type Columns, type Run } from "../src/pages/study/data";

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

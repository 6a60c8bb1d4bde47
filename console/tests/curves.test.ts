import { describe, expect, it } from "vitest";
import { aligned, csv, curvesOf, extended, looks, type Curves } from "../src/pages/job/curves";
import { NOTHING, isChosen, isLeftOut, isMixed, read, sent, toggled, write } from "../src/pages/job/rules";

describe("curves", () => {
  it("have gaps where values are no numbers, and on a logarithmic scale where they are not above 0", () => {
    const one = { x: [1, 2, 3, 4], y: [1, "NaN", 0, 3] as (number | "NaN")[] };
    const other = { x: [2, 5], y: ["Infinity", -1] as (number | "Infinity")[] };
    expect(aligned([one, other], true)).toEqual({
      x: [1, 2, 3, 4, 5],
      y: [
        [1, null, null, 3, undefined],
        [undefined, null, undefined, undefined, null],
      ],
      odd: [2],
    });
    expect(aligned([one, other], false).y[0]).toEqual([1, null, 0, 3, undefined]);
  });

  it("go on with the points that come, each once", () => {
    const base = curvesOf({ x: [1, 2], keys: { p: { x: [1, 2], min: [1, 1], max: [3, 3], last: [3, 1] } }, exact: true });
    const more: Curves = extended(base, { index: 3, x: [1, 2, 3], values: { p: [9, 0.5, "NaN"], U: [null, null, 7] } });
    expect(more.get("p")).toEqual({ x: [1, 2, 3], y: [3, 0.5, "NaN"] });
    expect(more.get("U")).toEqual({ x: [3], y: [7] });
    expect(base.get("p")!.y).toEqual([3, 1]);
    expect(extended(more, { index: 1, x: [1], values: { p: [8] }, isNew: true }).get("p")).toEqual({ x: [1], y: [8] });
  });

  it("keep their colour, and no two look alike", () => {
    expect(looks(["Ux", "p"]).map((look) => look.colour)).toEqual([2, 1]);
    const many = looks(["p", "p_rgh", "Ux", "Uy", "Uz", "k", "omega", "T", "a", "b"]);
    expect(new Set(many.map((look) => `${look.colour} ${look.dash}`)).size).toBe(10);
    expect(many[0]).toEqual({ colour: 1, dash: [] });
  });

  it("are a table that spreadsheets read", () => {
    expect(csv(["p", 'a,"b"'], [{ x: [1, 2], y: [1.5, "NaN"] }, { x: [2], y: [4] }])).toBe('x,p,"a,""b"""\n1,1.5,\n2,NaN,4\n');
  });
});

describe("what is chosen of many files", () => {
  it("is told by the rule that is closest", () => {
    let rules = toggled(NOTHING, "case/");
    expect(isChosen(rules, "case/0/U")).toBe(true);
    rules = toggled(rules, "case/0/");
    expect([isChosen(rules, "case/0/U"), isChosen(rules, "case/1/U"), isMixed(rules, "case/")]).toEqual([false, true, true]);
    expect(isLeftOut(rules, "case/0/U")).toBe(true);
    expect(isLeftOut(rules, "case/0/")).toBe(false);
    // A folder of which some is left out becomes whole first, then nothing of it.
    rules = toggled(rules, "case/");
    expect(rules).toEqual({ include: ["case/"], exclude: [] });
    expect(toggled(rules, "case/")).toEqual(NOTHING);
  });

  it("may be everything but something", () => {
    const rules = toggled(toggled(NOTHING, ""), "log.txt");
    expect(rules).toEqual({ include: [""], exclude: ["log.txt"] });
    expect(isChosen(rules, "log.txt2")).toBe(true);
    expect(sent(rules)).toEqual({ include: [], exclude: ["log.txt"] });
  });

  it("does not take a file for a pattern, nor a folder for a file", () => {
    const rules = toggled(toggled(NOTHING, "a[1]*.txt"), "b/");
    expect(sent(rules).include).toEqual(["/a[[]1][*].txt", "b/"]);
    expect(isChosen(rules, "b")).toBe(false);
    expect(isChosen(rules, "bc/d")).toBe(false);
  });

  it("survives the address, whatever names there are", () => {
    const rules = { include: ["", "a|b%7C+/", "ä ö\n"], exclude: ["-x", "a|b%7C+/c"] };
    expect(read(new URLSearchParams(new URLSearchParams({ sel: write(rules) }).toString()).get("sel")!)).toEqual(rules);
    expect(read("")).toEqual(NOTHING);
    expect(read(undefined)).toEqual(NOTHING);
  });
});

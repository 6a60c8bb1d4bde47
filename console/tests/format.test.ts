import { describe, expect, it } from "vitest";
import { leftText, percent, roughlyLeft } from "../src/lib/convergence";
import { bytes, duration, grouped, number } from "../src/lib/format";

describe("numbers", () => {
  it.each([
    [0, "0"],
    [1.23456, "1.235"],
    [0.0187, "0.0187"],
    [1.188e-5, "1.188e-05"],
    [123456.789, "123500"],
    [1.5e7 + 0.5, "1.500e+07"],
    [12345, "12\u202f345"],
    [1234, "1234"],
    [-1234567, "-1\u202f234\u202f567"],
    [Number.NaN, "NaN"],
    ["NaN", "NaN"],
    ["Infinity", "Infinity"],
    ["naca0012", "naca0012"],
    [null, "-"],
    ["", "-"],
  ])("%s is %s", (value, text) => {
    expect(number(value)).toBe(text);
  });

  it("are pasted as they were", () => {
    for (const value of [1.188e-5, -2.5e9 - 0.25, 0.5, 3.0001]) {
      expect(Number(number(value))).toBeCloseTo(value, -Math.floor(Math.log10(Math.abs(value))) + 2);
    }
  });

  it("are grouped from five digits on", () => {
    expect(grouped(9999)).toBe("9999");
    expect(grouped(-10000)).toBe("-10\u202f000");
  });
});

it("sizes are decimal", () => {
  expect([0, 999, 1000, 1_240_000_000, 45_600_000, 812_345_344].map(bytes)).toEqual(["0 B", "999 B", "1.00 kB", "1.24 GB", "45.6 MB", "812 MB"]);
  expect(bytes(null)).toBe("-");
});

it("durations carry what matters", () => {
  expect([0.25, 9.96, 42, 125, 11520, 187_200].map(duration)).toEqual(["0.3 s", "10 s", "42 s", "2 min 05 s", "3 h 12 min", "2 d 4 h"]);
  expect(duration(undefined)).toBe("-");
});

it("time left is as sure as it is", () => {
  expect(leftText({ seconds: 100, low: 90, high: 110 })).toBe("about 1 min 40 s left");
  expect(leftText({ seconds: 100, low: 60, high: 240 })).toBe("1 min 00 s to 4 min 00 s left");
  expect(leftText({ seconds: 100, low: 60, high: null })).toBe("at least 1 min 00 s left");
  expect(roughlyLeft({ seconds: 185, low: 60, high: 240 })).toBe("about 3 min left");
  expect(roughlyLeft({ seconds: 185, low: 7100, high: null })).toBe("at least 2 h left");
});

it("what is not done yet is no hundred percent", () => {
  expect([0, 0.29, 0.416, 0.999, 1].map(percent)).toEqual(["0 %", "29 %", "41 %", "99 %", "100 %"]);
});

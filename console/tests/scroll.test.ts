import { describe, expect, it } from "vitest";
import { MOST_PX, Scroll } from "../src/lib/scroll";

const VIEW = 600;

describe("a list that fits", () => {
  it("is where the element is", () => {
    const scroll = new Scroll();
    scroll.resize(10_000, VIEW);
    scroll.scrolled(1234);
    expect(scroll.top).toBe(1234);
    expect(scroll.height).toBe(10_000);
    expect(scroll.to(99_999)).toBe(9_400);
  });
});

describe("a list of a million rows and more", () => {
  const total = 1_600_000_000;
  const scroll = new Scroll();
  scroll.resize(total, VIEW);

  it("has an element that a browser can make", () => {
    expect(scroll.height).toBe(MOST_PX);
  });

  it("moves by real pixels where somebody turns the wheel", () => {
    scroll.to(800_000_000);
    const at = scroll.settle();
    const before = scroll.top;
    scroll.scrolled(at + 120);
    expect(scroll.top).toBe(before + 120);
    scroll.scrolled(at + 60);
    expect(scroll.top).toBe(before + 60);
  });

  it("jumps to a share where the thumb is dragged", () => {
    scroll.to(0);
    scroll.scrolled((MOST_PX - VIEW) / 4);
    expect(scroll.top).toBeCloseTo((total - VIEW) / 4, 0);
  });

  it("reaches both ends, whatever way one came", () => {
    let seed = 7;
    const random = (): number => (seed = (seed * 48271) % 2147483647) / 2147483647;
    for (let n = 0; n < 2_000; n++) {
      const at = scroll.settle();
      expect(at).toBeGreaterThanOrEqual(0);
      expect(at).toBeLessThanOrEqual(MOST_PX - VIEW);
      const far = random() < 0.2;
      scroll.scrolled(Math.max(0, Math.min(MOST_PX - VIEW, at + (random() - 0.5) * (far ? MOST_PX : 2 * VIEW))));
      expect(scroll.top).toBeGreaterThanOrEqual(0);
      expect(scroll.top).toBeLessThanOrEqual(total - VIEW);
    }
    scroll.scrolled(0);
    expect(scroll.top).toBe(0);
    scroll.scrolled(MOST_PX - VIEW);
    expect(scroll.top).toBe(total - VIEW);
  });

  it("never says the end where there is more below, and the other way round", () => {
    scroll.to(total - VIEW - 1);
    expect(scroll.settle()).toBeLessThan(MOST_PX - VIEW);
    scroll.to(1);
    expect(scroll.settle()).toBeGreaterThan(0);
  });
});

describe("rows of a long list in their element", () => {
  it("stay where the browser scrolls them, until it is settled or jumped", () => {
    const scroll = new Scroll();
    scroll.resize(1_600_000_000, VIEW);
    scroll.to(800_000_000);
    const { shift } = scroll;
    const at = scroll.settle();
    for (let n = 1; n < 20; n++) {
      scroll.scrolled(at + 100 * n);
      expect(scroll.shift).toBe(shift);
    }
    const seen = scroll.top;
    const to = scroll.settle();
    expect(scroll.shift).toBe(Math.round(seen - to)); // the same rows are seen
    expect(to).toBeLessThan(at + 1900);
  });

  it("are at their own place in a list that fits, also after it has become shorter", () => {
    const scroll = new Scroll();
    scroll.resize(10_000, VIEW);
    scroll.scrolled(9_000);
    scroll.resize(2_000, VIEW);
    expect(scroll.shift).toBe(0);
  });
});

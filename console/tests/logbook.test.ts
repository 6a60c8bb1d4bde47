import { describe, expect, it } from "vitest";
import { BLOCK, LogBook, type Loaded } from "../src/pages/job/logbook";
import { fill, moved, type Place } from "../src/pages/job/logview";
import { hits, lastState, marked, plain, shownLine, spans } from "../src/pages/job/text";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function bookOf(content: Uint8Array, size = content.length): { book: LogBook; asked: number[] } {
  const asked: number[] = [];
  const load = async (offset: number, length: number): Promise<Loaded> => {
    asked.push(offset);
    const bytes = content.slice(offset, offset + length);
    const line = content.subarray(0, offset).filter((b) => b === 10).length + 1;
    return { bytes, size, line };
  };
  return { book: new LogBook(load, () => {}), asked };
}

/** What is there once all that was asked for is loaded. */
async function settled<T>(look: () => T | null): Promise<T | null> {
  for (let tries = 0; tries < 20; tries++) {
    const found = look();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve));
  }
  return null;
}

async function allLines(book: LogBook): Promise<{ start: number; end: number; number: number | null }[]> {
  const found = [];
  let line = await settled(() => book.lineAt(0));
  while (line) {
    found.push(line);
    const at = line;
    line = at.end < book.size! ? await settled(() => book.after(at)) : null;
  }
  return found;
}

describe("lines of a log", () => {
  it("are whole over the edges of blocks, with characters of several bytes and both ends", async () => {
    const lines = Array.from({ length: 9000 }, (_, n) => `${n} Überströmung – 漢字 🌀 ${"x".repeat(n % 97)}${n % 3 ? "" : "\r"}`);
    const text = lines.join("\n") + "\n";
    const { book } = bookOf(encoder.encode(text));
    const found = await allLines(book);
    expect(book.size!).toBeGreaterThan(2 * BLOCK);
    expect(found.map((line) => line.number)).toEqual(lines.map((_, n) => n + 1));
    for (const at of [0, 1, 4000, 8999]) {
      const line = found[at]!;
      const again = await settled(() => book.lineAt(line.start + 3));
      expect(again).toEqual(line);
      expect(decoder.decode(book.bytes(again!))).toBe(lines[at]!.replace("\r", ""));
    }
  });

  it("that never end are broken where blocks begin, and nothing is lost", async () => {
    const content = encoder.encode(`short\n${"y".repeat(3 * BLOCK)}\nlast`);
    const { book } = bookOf(content);
    const found = await allLines(book);
    expect(found.map((line) => [line.start, line.end])).toEqual([
      [0, 6],
      [6, BLOCK],
      [BLOCK, 2 * BLOCK],
      [2 * BLOCK, 3 * BLOCK],
      [3 * BLOCK, 3 * BLOCK + 7],
      [3 * BLOCK + 7, content.length],
    ]);
  });

  it("are the same upwards and downwards", async () => {
    const content = encoder.encode("a\n\n\nbb\r\n" + "z".repeat(BLOCK - 12) + "\nq\n" + "w".repeat(70_000) + "\n" + "v\n".repeat(9));
    const { book } = bookOf(content);
    const down = await allLines(book);
    // Each direction knows numbers by the lines it has seen: another book has seen none.
    const up: typeof down = [];
    const other = bookOf(content).book;
    await settled(() => other.lineAt(0)); // how long it is
    let line = await settled(() => other.last());
    while (line) {
      up.unshift(line);
      const at = line;
      line = at.start > 0 ? await settled(() => other.before(at)) : null;
    }
    expect(up).toEqual(down);
  });

  it("that are appended are there without a request", async () => {
    const { book, asked } = bookOf(encoder.encode("one\ntwo"));
    await allLines(book);
    expect(asked).toEqual([0]);
    const more = encoder.encode(" and a half ä\nthree\n");
    expect(book.append(7, 7 + more.length, more)).toBe(true);
    expect((await allLines(book)).map((line) => decoder.decode(book.bytes(line)))).toEqual(["one", "two and a half ä", "three"]);
    expect(asked).toEqual([0]);
  });

  it("that were no text are loaded again, not guessed", async () => {
    const { book, asked } = bookOf(encoder.encode("one\n"));
    await allLines(book);
    expect(book.append(4, 6, encoder.encode("\ufffd\n"))).toBe(false);
    expect(book.size).toBe(6);
    await settled(() => book.last());
    expect(asked).toContain(4);
  });

  it("of an empty log are none", async () => {
    const { book } = bookOf(new Uint8Array());
    expect(await settled(() => book.lineAt(0))).toBeNull();
    expect(book.size).toBe(0);
  });

  it("keep a few blocks only, and load what was dropped again", async () => {
    const content = encoder.encode("0123456789abcde\n".repeat((12 * BLOCK) / 16));
    const { book, asked } = bookOf(content);
    for (let n = 0; n < 12; n++) await settled(() => book.lineAt(n * BLOCK + 5));
    const first = asked.length;
    await settled(() => book.lineAt(5));
    expect(asked.length).toBe(first + 1);
  });

  it("tell when they could not be loaded, and are tried again", async () => {
    let isDown = true;
    const book = new LogBook(
      async () => {
        if (isDown) throw new Error("down");
        return { bytes: encoder.encode("up\n"), size: 3, line: 1 };
      },
      () => {},
    );
    await settled(() => book.lineAt(0));
    expect(String(book.error)).toContain("down");
    isDown = false;
    book.retry();
    expect((await settled(() => book.lineAt(0)))?.end).toBe(3);
    expect(book.error).toBeNull();
  });
});

describe("what is in view", () => {
  const height = () => 10;
  const rows = async (count: number) => {
    const { book } = bookOf(encoder.encode("12345678\n".repeat(count)));
    await allLines(book);
    return book;
  };

  it("is the end, and goes up by pixels and down to the end again", async () => {
    const book = await rows(100);
    const end = fill(book, "end", 55, height);
    expect(end.lines.map((line) => line.number)).toEqual([95, 96, 97, 98, 99, 100]);
    expect(end.top).toBe(-5);
    const up = moved(book, end, -20, 55, height);
    expect(up).toEqual({ at: 92 * 9, above: 5 });
    const there = fill(book, up, 55, height);
    expect(there.isEnd).toBe(false);
    expect(there.lines[0]?.number).toBe(93);
    expect(moved(book, there, 19, 55, height)).not.toBe("end");
    expect(moved(book, there, 30, 55, height)).toBe("end");
  });

  it("stops at the beginning", async () => {
    const book = await rows(100);
    const place: Place = { at: 18, above: 3 };
    expect(moved(book, fill(book, place, 55, height), -1000, 55, height)).toEqual({ at: 0, above: 0 });
  });

  it("of a short log is all of it", async () => {
    const book = await rows(3);
    const all = fill(book, { at: 0, above: 0 }, 55, height);
    expect(all.isEnd).toBe(true);
    expect(all.top).toBe(0);
    expect(all.lines.length).toBe(3);
  });
});

describe("a line as it is shown", () => {
  it("has the last state of progress that was overwritten", () => {
    expect(lastState("10 %\r20 %\r30 %")).toBe("30 %");
    expect(lastState("10 %\r20 %\r\x1b[K\r")).toBe("20 %");
    expect(lastState("")).toBe("");
  });

  it("is text without what a terminal obeys", () => {
    expect(plain("a\x7f\x9bb\x85")).toBe("a\u2421\ufffdb\ufffd");
    expect(plain("\x1b[31mred\x1b[0m \x1b]0;title\x07<b>\x1b[2J\x00\x1bc")).toBe("red <b>\u2400");
  });

  it("is cut where it is long, and decoded where it is odd", () => {
    expect(shownLine(encoder.encode("x".repeat(5000)))).toEqual({ text: "x".repeat(4096), isCut: true, hasColour: false });
    expect(shownLine(new Uint8Array([0xff, 0x41])).text).toBe("\ufffdA");
  });

  it("has tones for colours, whatever they are", () => {
    const entry = (fg: string | null) => ({ content: "t", fg, decorations: [] });
    const tones = ["187, 0, 0", "0, 187, 0", "85, 85, 85", "255, 255, 255", "255, 135, 0", null].map((fg) => spans([entry(fg)])[0]!.tone);
    expect(tones).toEqual(["red", "green", "grey", "", "yellow", ""]);
  });

  it("is marked where it has what was searched", () => {
    const found = hits("Error: error", "error", false);
    expect(found).toEqual([
      [0, 5],
      [7, 12],
    ]);
    const drawn = marked([{ text: "Err", tone: "red", isBold: false }, { text: "or: error", tone: "", isBold: false }], found);
    expect(drawn.map((span) => [span.text, span.isHit])).toEqual([
      ["Err", true],
      ["or", true],
      [": ", false],
      ["error", true],
    ]);
  });
});

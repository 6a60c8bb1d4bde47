/**
 * A log of any length, as lines, of which only some blocks of bytes are in memory.
 *
 * A place is the offset of a byte: it stays what it is while the file grows. Lines end with "\n". One
 * that is long is broken where a block begins, so a line is never longer than a block.
 */

export const BLOCK = 1 << 18;
const MOST_BLOCKS = 8;
const LONG = 1 << 15; // beside a block's edge: what is longer is broken there
const SAMPLE = 1 << 14;
const NEWLINE = 10;

export type Loaded = {
  bytes: Uint8Array;
  size: number; // of the whole file
  line: number | null; // number of the line that the first byte is of, from 1
};

export type Line = { start: number; end: number; number: number | null };

type Block = { bytes: Uint8Array; line: number | null; isLoading: boolean; error: unknown };

export class LogBook {
  /** Bytes of the whole file, as far as is known; null until something was heard of it. */
  size: number | null = null;
  error: unknown = null;
  /** Another number when it became another file. */
  generation = 0;
  private blocks = new Map<number, Block>(); // the one that was used last at the end
  private over = new AbortController();

  constructor(
    private readonly load: (offset: number, length: number, signal: AbortSignal) => Promise<Loaded>,
    private readonly changed: () => void,
  ) {}

  close(): void {
    this.over.abort();
  }

  /** The line that a byte is of; null while it is being loaded, or where there is none. */
  lineAt(at: number): Line | null {
    const start = this.start(at);
    return start === null ? null : this.lineFrom(start);
  }

  after(line: Line): Line | null {
    return line.end < (this.size ?? 0) ? this.lineFrom(line.end, line) : null;
  }

  before(line: Line): Line | null {
    const start = line.start > 0 ? this.start(line.start - 1) : null;
    return start === null ? null : this.lineFrom(start, line);
  }

  last(): Line | null {
    if (this.size === null) this.block(0); // with any of it comes its size
    return this.size ? this.lineAt(this.size - 1) : null;
  }

  /** The bytes of a line, without those that end it. */
  bytes(line: Line): Uint8Array {
    const parts: Uint8Array[] = [];
    for (let at = line.start; at < line.end; ) {
      const n = Math.floor(at / BLOCK);
      const block = this.blocks.get(n);
      const stop = Math.min(line.end, (n + 1) * BLOCK);
      if (!block) break;
      parts.push(block.bytes.subarray(at - n * BLOCK, stop - n * BLOCK));
      at = stop;
    }
    let whole = parts.length === 1 ? parts[0]! : joined(parts);
    if (whole.at(-1) === NEWLINE) whole = whole.subarray(0, -1);
    if (whole.at(-1) === 13) whole = whole.subarray(0, -1);
    return whole;
  }

  /** What was appended, as it was told; false where it does not continue what is here. */
  append(from: number, to: number, bytes: Uint8Array): boolean {
    const wasAt = this.size ?? 0;
    this.size = Math.max(wasAt, to);
    if (bytes.length !== to - from) return false; // it was no UTF-8: it is loaded when it is looked at
    for (let at = from; at < to; ) {
      const n = Math.floor(at / BLOCK);
      const begin = n * BLOCK;
      const block = this.blocks.get(n) ?? (at === begin ? this.add(n) : undefined);
      const stop = Math.min(to, begin + BLOCK);
      const have = block ? begin + block.bytes.length : -1;
      if (block && have >= at && have < stop && !block.isLoading) {
        block.bytes = joined([block.bytes, bytes.subarray(have - from, stop - from)]);
      }
      at = stop;
    }
    return true;
  }

  /** The file was written from the start, or is another: nothing of it is known any more. */
  reset(size: number | null = null): void {
    this.over.abort();
    this.over = new AbortController();
    this.blocks.clear();
    this.generation += 1;
    this.size = size;
    this.error = null;
    this.changed();
  }

  /** Bytes of a line on average, by the beginning of a block that is here. */
  get perLine(): number {
    for (const block of this.blocks.values()) {
      const lines = count(block.bytes, SAMPLE);
      if (lines) return Math.min(SAMPLE, block.bytes.length) / lines;
    }
    return 110;
  }

  /** Try again what could not be loaded. */
  retry(): void {
    this.error = null;
    for (const [n, block] of this.blocks) if (block.error) this.blocks.delete(n);
    this.changed();
  }

  /** The line that begins there; its number is known soonest from that of one beside it. */
  private lineFrom(start: number, beside?: Line): Line | null {
    const size = this.size;
    if (size === null || start >= size) return null;
    const n = Math.floor(start / BLOCK);
    const block = this.block(n);
    if (!block) return null;
    const number = this.number(start, beside);
    const found = block.bytes.indexOf(NEWLINE, start - n * BLOCK);
    if (found >= 0) return { start, end: n * BLOCK + found + 1, number };
    const edge = (n + 1) * BLOCK;
    if (edge >= size) return { start, end: size, number };
    const breaks = this.breaksAt(n + 1);
    if (breaks === null) return null;
    if (breaks) return { start, end: edge, number };
    const next = this.block(n + 1)!.bytes.indexOf(NEWLINE);
    return { start, end: next < 0 ? size : edge + next + 1, number };
  }

  private number(start: number, beside?: Line): number | null {
    const n = Math.floor(start / BLOCK);
    if (beside && beside.number !== null && Math.floor(beside.start / BLOCK) === n) {
      return beside.number + Math.sign(start - beside.start);
    }
    const first = this.firstLine(n);
    return first === null ? null : first + count(this.blocks.get(n)!.bytes, start - n * BLOCK);
  }

  /** The number of the line that the first byte of a block is of. */
  private firstLine(n: number): number | null {
    const block = this.blocks.get(n);
    const earlier = this.blocks.get(n - 1);
    if (block?.line === null && earlier && earlier.line !== null && earlier.bytes.length === BLOCK) {
      block.line = earlier.line + count(earlier.bytes, BLOCK);
    }
    return block?.line ?? null;
  }

  private start(at: number): number | null {
    if (this.size !== null && at >= this.size) return null;
    const n = Math.floor(at / BLOCK);
    const block = this.block(n);
    if (!block) return null;
    const found = at > n * BLOCK ? block.bytes.lastIndexOf(NEWLINE, at - n * BLOCK - 1) : -1;
    if (found >= 0) return n * BLOCK + found + 1;
    const breaks = this.breaksAt(n);
    if (breaks === null) return null;
    if (breaks) return n * BLOCK;
    const earlier = this.block(n - 1)!;
    return (n - 1) * BLOCK + earlier.bytes.lastIndexOf(NEWLINE) + 1;
  }

  /** Whether a line begins with a block; null while that is not known. */
  private breaksAt(n: number): boolean | null {
    if (n === 0) return true;
    const earlier = this.block(n - 1);
    const block = this.block(n);
    if (!earlier || !block) return null;
    const tail = BLOCK - 1 - earlier.bytes.lastIndexOf(NEWLINE);
    if (tail === 0 || tail > LONG) return true;
    const head = block.bytes.indexOf(NEWLINE);
    return (head < 0 ? block.bytes.length : head) > LONG;
  }

  /** A block if all of it that exists is here; it is loaded otherwise. */
  private block(n: number): Block | null {
    const wanted = this.size === null ? 1 : Math.min(BLOCK, this.size - n * BLOCK);
    if (n < 0 || wanted <= 0) return null;
    const block = this.blocks.get(n) ?? this.add(n);
    this.blocks.delete(n);
    this.blocks.set(n, block);
    if (block.bytes.length >= wanted) return block;
    if (!block.isLoading && !block.error) void this.fetch(n, block);
    return null;
  }

  private add(n: number): Block {
    const block: Block = { bytes: new Uint8Array(), line: n === 0 ? 1 : null, isLoading: false, error: null };
    this.blocks.set(n, block);
    for (const key of this.blocks.keys()) {
      if (this.blocks.size <= MOST_BLOCKS) break;
      if (key !== n && !this.blocks.get(key)!.isLoading) this.blocks.delete(key);
    }
    return block;
  }

  private async fetch(n: number, block: Block): Promise<void> {
    const signal = this.over.signal;
    block.isLoading = true;
    try {
      const have = block.bytes.length;
      const loaded = await this.load(n * BLOCK + have, BLOCK - have, signal);
      if (signal.aborted) return;
      if (have === 0) block.line = loaded.line;
      block.bytes = have === 0 ? loaded.bytes : joined([block.bytes, loaded.bytes]);
      const shrank = loaded.size < n * BLOCK + have;
      block.isLoading = false;
      if (shrank) return this.reset(loaded.size);
      const end = n * BLOCK + block.bytes.length;
      this.size = loaded.bytes.length ? Math.max(loaded.size, end) : end; // nothing more came: it ends here
      this.error = null;
    } catch (error) {
      if (signal.aborted) return;
      block.isLoading = false;
      block.error = error;
      this.error = error;
    }
    this.changed();
  }
}

function joined(parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, each) => sum + each.length, 0));
  let at = 0;
  for (const each of parts) {
    whole.set(each, at);
    at += each.length;
  }
  return whole;
}

function count(bytes: Uint8Array, until: number): number {
  let found = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0 && at < until; at = bytes.indexOf(NEWLINE, at + 1)) found += 1;
  return found;
}

import { describe, expect, it, vi } from "vitest";
import type { Query } from "../src/api/client";
import type { Growing as GrowingBook, Pages as PagesBook, Wanted } from "../src/pages/jobs/book";
import type { Feed as JobsFeed } from "../src/pages/jobs/feed";
import type { JobRow, RowsPage } from "../src/api/types";

vi.stubGlobal("document", { baseURI: "http://box/" });
const { ApiError } = await import("../src/api/client");
const { Growing, PAGE, Pages } = await import("../src/pages/jobs/book");
const { Feed } = await import("../src/pages/jobs/feed");
const { asked, isCounted, matches, sinceWhen, valueOf } = await import("../src/pages/jobs/filters");
const { Selection } = await import("../src/pages/jobs/selection");

const row = (n: number, more: Partial<JobRow> = {}): JobRow => ({
  id: `j${n}`,
  name: `wing ${n}`,
  status: "Completed",
  clusterStatus: "Stopped",
  reason: null,
  outcome: null,
  analyses: [{ code: "openfoam", name: "OpenFOAM", version: "1912" }],
  cores: 1,
  coreType: "emerald",
  slots: 1,
  walltime: null,
  isStudy: false,
  study: null,
  progress: null,
  convergence: null,
  owner: { email: "ada@lab.example", fullName: "Ada" },
  isMine: true,
  tags: [],
  projectName: null,
  insertedAt: new Date(Date.UTC(2026, 0, 1) + n * 1000).toISOString(),
  submittedAt: null,
  startedAt: null,
  endedAt: null,
  coreHours: 0,
  cost: 0,
  notices: 0,
  ...more,
});

/** A list as the server has it, newest first: entries have numbers, cursors are numbers, places are counted. */
class Server {
  entries: JobRow[];
  asked: Query[] = [];
  canJump = true;
  scan = Infinity; // entries that one search looks at

  constructor(count: number) {
    this.entries = Array.from({ length: count }, (_, n) => row(count - 1 - n));
  }

  add(more: Partial<JobRow> = {}): JobRow {
    const one = row(this.number(this.entries[0]!) + 1, more);
    this.entries.unshift(one);
    return one;
  }

  number = (one: JobRow): number => Number(one.id.slice(1));

  get = async (query: Query): Promise<RowsPage> => {
    this.asked.push(query);
    const page = { next: null, previous: null, countIsExact: true, isPartial: false, at: null };
    if (query["ids"]) {
      const ids = query["ids"] as string[];
      const rows = ids.flatMap((id) => this.entries.filter((one) => one.id === id));
      return { ...page, rows, count: rows.length };
    }
    if (query["at"] !== undefined && !this.canJump) throw new ApiError(400, "no", { at: ["No places."] });
    const text = String(query["q"] ?? "");
    const after = query["cursor"] ? Number(String(query["cursor"]).slice(1)) : Infinity;
    const from = this.entries.filter((one) => this.number(one) < after).slice(Number(query["at"] ?? 0));
    const seen = from.slice(0, this.scan);
    const all = seen.filter((one) => one.name.includes(text));
    const rows = all.slice(0, PAGE);
    const last = all.length > PAGE ? rows[PAGE - 1]! : from.length > seen.length ? seen[seen.length - 1]! : null;
    const count = text ? (after === Infinity ? all.length : null) : this.entries.length;
    return { ...page, rows, count, countIsExact: !text || from.length === seen.length, next: last && `a${this.number(last)}` };
  };
}

async function fill(server: Server, book: PagesBook | GrowingBook, first: number, last: number): Promise<Wanted[]> {
  const done: Wanted[] = [];
  for (let wanted = book.wants(first, last); wanted && done.length < 50; wanted = book.wants(first, last)) {
    const { page: _, ...way } = wanted;
    book.put(wanted, await server.get({ ...way }));
    done.push(wanted);
  }
  expect(done.length).toBeLessThan(50);
  return done;
}

const shown = (book: PagesBook, first: number, last: number): (string | undefined)[] =>
  Array.from({ length: last - first + 1 }, (_, n) => book.row(first + n)?.id);
const there = (server: Server, first: number, last: number): string[] =>
  server.entries.slice(first, last + 1).map((one) => one.id);

describe("Pages", () => {
  it("asks for the first page, and for what comes near", async () => {
    const [server, book] = [new Server(1000), new Pages()];
    expect(book.size).toBe(0);
    expect(await fill(server, book, 0, 20)).toEqual([{ page: 0 }]);
    expect(book.size).toBe(1000);
    const next = await fill(server, book, 60, 80);
    expect(next).toEqual([{ page: 1, cursor: "a900" }]);
    expect(shown(book, 0, 199)).toEqual(there(server, 0, 199));
    expect(await fill(server, book, 60, 80)).toEqual([]);
  });

  it("jumps anywhere, with one request for what is seen", async () => {
    const [server, book] = [new Server(10_000), new Pages()];
    await fill(server, book, 0, 20);
    const [first] = await fill(server, book, 7320, 7340);
    expect(first).toEqual({ page: 73, at: 7300 });
    expect(shown(book, 7320, 7340)).toEqual(there(server, 7320, 7340));
    await fill(server, book, 9980, 9999);
    expect(book.row(9999)?.id).toBe("j0");
  });

  it("keeps its rows where they are while new ones come on top", async () => {
    const [server, book] = [new Server(2000), new Pages()];
    await fill(server, book, 0, 20);
    const before = [...server.entries];
    for (let n = 0; n < 7; n++) server.add();
    await fill(server, book, 150, 160);
    expect(shown(book, 0, 199)).toEqual(before.slice(0, 200).map((one) => one.id));
    await fill(server, book, 1200, 1220); // the first jump does not know how many came
    await fill(server, book, 1520, 1540); // the next one does
    expect(shown(book, 1520, 1540)).toEqual(before.slice(1520, 1541).map((one) => one.id));
  });

  it("joins parts that meet, so that no row is missing or there twice", async () => {
    const [server, book] = [new Server(1000), new Pages()];
    await fill(server, book, 0, 20);
    server.entries.splice(150, 30); // deleted
    await fill(server, book, 400, 420);
    await fill(server, book, 180, 330);
    await fill(server, book, 300, 430);
    const ids = shown(book, 100, 430);
    expect(ids.every(Boolean)).toBe(true);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toEqual(there(server, 100, 430));
  });

  it("ends where the list ends, also when it became shorter", async () => {
    const [server, book] = [new Server(250), new Pages()];
    await fill(server, book, 0, 20);
    server.entries.splice(120, 60);
    await fill(server, book, 100, 249);
    expect(book.size).toBe(190);
    expect(await fill(server, book, 100, 189)).toEqual([]);
  });

  it("does not grow without end, and keeps the first page", async () => {
    const [server, book] = [new Server(8000), new Pages()];
    await fill(server, book, 0, 10);
    for (let at = 500; at < 8000; at += 100) await fill(server, book, at, at + 20);
    expect(book.rows().length).toBeLessThanOrEqual(60 * PAGE);
    expect(book.row(0)?.id).toBe("j7999");
    expect(book.place("j7999")).toBe(0);
  });

  it("puts newer rows in their place", async () => {
    const [server, book] = [new Server(300), new Pages()];
    await fill(server, book, 0, 20);
    expect(book.update([row(299, { status: "Executing" }), row(5, { status: "Executing" })])).toBe(true);
    expect(book.row(0)?.status).toBe("Executing");
    expect(book.update([row(5)])).toBe(false);
  });
});

describe("Growing", () => {
  it("goes on while there is more, and says that it does", async () => {
    const [server, book] = [new Server(250), new Growing()];
    await fill(server, book, 0, 20);
    expect([book.rows().length, book.size]).toEqual([PAGE, PAGE + 1]);
    await fill(server, book, 90, PAGE);
    await fill(server, book, 190, 2 * PAGE);
    expect([book.size, book.count, book.isExact]).toEqual([250, 250, true]);
  });

  it("takes no row twice, and no page that comes late", () => {
    const book = new Growing();
    const page = { previous: null, count: 5, countIsExact: false, isPartial: false, at: null };
    book.put({ page: 0 }, { ...page, rows: [row(9), row(8)], next: "a8" });
    book.put({ page: 0 }, { ...page, rows: [row(7)], next: "a7" });
    book.put({ page: 2, cursor: "a8" }, { ...page, rows: [row(8), row(7)], next: null });
    expect(book.rows().map((one) => one.id)).toEqual(["j9", "j8", "j7"]);
    expect([book.count, book.isExact]).toEqual([3, true]);
  });
});

describe("Feed", () => {
  const list = { query: {}, isCounted: true, isNewestFirst: true };
  const settle = async (): Promise<void> => {
    for (let n = 0; n < 30; n++) await Promise.resolve();
  };
  const begun = async (server: Server, what = list, isHidden = () => false): Promise<JobsFeed> => {
    const feed = new Feed(server.get, isHidden);
    feed.ask(what);
    await settle();
    return feed;
  };
  const pass = async (): Promise<void> => {
    await vi.advanceTimersByTimeAsync(300);
    await settle();
  };

  it("brings rows in view up to date with one request for many events", async () => {
    vi.useFakeTimers();
    const server = new Server(300);
    const feed = await begun(server);
    server.entries[0] = { ...server.entries[0]!, status: "Executing" };
    const before = server.asked.length;
    for (let n = 0; n < 40; n++) feed.heard("job", { id: "j299", status: "Executing" });
    feed.heard("run", { job: "j298", run: "1" });
    await pass();
    expect(server.asked.slice(before)).toEqual([{ ids: ["j299", "j298"] }]);
    expect(feed.book?.row(0)?.status).toBe("Executing");
    vi.useRealTimers();
  });

  it("shows how far runs are without a request, and not of studies and runs that are over", async () => {
    vi.useFakeTimers();
    const server = new Server(30);
    server.entries[0] = { ...server.entries[0]!, startedAt: "2026-01-01T00:00:00Z" };
    server.entries[1] = { ...server.entries[1]!, isStudy: true };
    server.entries[2] = { ...server.entries[2]!, endedAt: "2026-01-01T00:00:00Z" };
    const feed = await begun(server);
    const before = [server.asked.length, feed.tick.value];
    const eta = { seconds: 180, low: 150, high: 200 };
    const convergence = { state: "converging", sentence: "p falls", evidence: null, eta, since: 1, progress: 0.41 } as const;
    for (const job of ["j29", "j28", "j27", "gone"]) feed.progressed({ job, run: "1", progress: 0.41, convergence });
    await pass();
    expect([server.asked.length, feed.tick.value - before[1]!]).toEqual([before[0], 1]);
    expect([0, 1, 2].map((n) => feed.book?.row(n)?.progress)).toEqual([0.41, null, null]);
    expect(feed.book?.row(0)?.convergence).toEqual(convergence);
    vi.useRealTimers();
  });

  it("tells of new jobs and moves no row until it is asked to", async () => {
    vi.useFakeTimers();
    const server = new Server(300);
    const feed = await begun(server);
    const one = server.add();
    feed.heard("job", { id: one.id, status: "" });
    feed.heard("job", { id: "j3", status: "Completed" }); // an old one, far below
    await pass();
    expect([...feed.fresh]).toEqual([one.id]);
    expect(feed.book?.row(0)?.id).toBe("j299");
    feed.reload();
    await settle();
    expect(feed.book?.row(0)?.id).toBe(one.id);
    expect(feed.fresh.size).toBe(0);
    vi.useRealTimers();
  });

  it("tells of what was shared, deleted, or does not match any more", async () => {
    vi.useFakeTimers();
    const server = new Server(50);
    const feed = await begun(server, { ...list, query: { status: "COMPLETED" } });
    server.entries.splice(3, 1, { ...server.entries[3]!, status: "Pending" });
    const old = row(-1);
    server.entries.push(old);
    feed.heard("job", { id: server.entries[3]!.id });
    feed.heard("notice", { kind: "deleted", id: "j40" });
    feed.heard("notice", { kind: "shared", id: old.id });
    await pass();
    expect([...feed.away]).toEqual([server.entries[3]!.id]);
    expect([...feed.gone]).toEqual(["j40"]);
    expect([...feed.fresh]).toEqual([old.id]);
    vi.useRealTimers();
  });

  it("asks for nothing while it is hidden, and catches up", async () => {
    vi.useFakeTimers();
    const server = new Server(50);
    let isHidden = true;
    const feed = await begun(server, list, () => isHidden);
    const before = server.asked.length;
    feed.heard("job", { id: "j49" });
    await pass();
    expect(server.asked.length).toBe(before);
    isHidden = false;
    feed.seen();
    await pass();
    expect(server.asked.slice(before)).toEqual([{ ids: ["j49"] }]);
    vi.useRealTimers();
  });

  it("looks what is new after events were missed", async () => {
    vi.useFakeTimers();
    const server = new Server(300);
    const feed = await begun(server);
    const [one, two] = [server.add(), server.add()];
    feed.heard("reset", {});
    await pass();
    expect([...feed.fresh].sort()).toEqual([one.id, two.id].sort());
    vi.useRealTimers();
  });

  it("goes on as a search where the server counts no places", async () => {
    const server = new Server(3000);
    const feed = await begun(server);
    server.canJump = false;
    feed.look(2500, 2520);
    await settle();
    expect(feed.asked.isCounted).toBe(false);
    expect(feed.error).toBe(null);
    expect(feed.book?.size).toBe(PAGE + 1);
  });

  it("pauses a search that finds nothing for long", async () => {
    const server = new Server(3000);
    server.scan = 10;
    const feed = await begun(server, { query: { q: "nowhere" }, isCounted: false, isNewestFirst: true });
    for (let n = 0; n < 10; n++) await settle();
    expect(feed.isPaused).toBe(true);
    const before = server.asked.length;
    expect(before).toBe(20);
    feed.goOn();
    for (let n = 0; n < 99; n++) await settle();
    expect(server.asked.length).toBe(300); // all of it
    expect([feed.book?.count, feed.book?.isExact, feed.isPaused]).toEqual([0, true, false]);
  });

  it("shows the old rows as old until the new ones come, and what is late is dropped", async () => {
    const server = new Server(30);
    const feed = await begun(server);
    let answer: (page: RowsPage) => void = () => {};
    const slow = new Feed((query) => (query["q"] === "slow" ? new Promise((resolve) => (answer = resolve)) : server.get(query)), () => false);
    slow.ask(list);
    await settle();
    slow.ask({ query: { q: "slow" }, isCounted: false, isNewestFirst: true });
    expect([slow.isOld, slow.book?.size]).toEqual([true, 30]);
    slow.ask({ query: { q: "wing 7" }, isCounted: false, isNewestFirst: true });
    await settle();
    answer(await server.get({}));
    await settle();
    expect(slow.book?.rows().map((one) => one.name)).toEqual(["wing 7"]);
    expect(slow.isOld).toBe(false);
    expect(feed.error).toBe(null);
  });

  it("hears what happens while the list is on its way", async () => {
    vi.useFakeTimers();
    const server = new Server(30);
    let answer: (page: RowsPage) => void = () => {};
    let isFirst = true;
    const feed = new Feed((query) => (isFirst ? new Promise((resolve) => (answer = resolve)) : server.get(query)), () => false);
    feed.ask(list);
    const early = await server.get({});
    server.entries[0] = { ...server.entries[0]!, status: "Executing" };
    feed.heard("job", { id: "j29", status: "Executing" });
    await pass();
    isFirst = false;
    answer(early);
    await settle();
    expect(feed.book?.row(0)?.status).toBe("Completed");
    await pass();
    expect(feed.book?.row(0)?.status).toBe("Executing");
    expect(feed.fresh.size).toBe(0);
    vi.useRealTimers();
  });

  it("asks again for what it could not fetch, once the server is there again", async () => {
    vi.useFakeTimers();
    const server = new Server(30);
    let isAway = false;
    const feed = new Feed((query) => (isAway ? Promise.reject(new ApiError(0, "away")) : server.get(query)), () => false);
    feed.ask(list);
    await settle();
    isAway = true;
    const one = server.add();
    feed.heard("job", { id: "j29" });
    feed.heard("job", { id: one.id, status: "" });
    await pass();
    const before = server.asked.length;
    await pass();
    expect(server.asked.length).toBe(before);
    isAway = false;
    feed.retry();
    await pass();
    expect(server.asked.slice(before)).toEqual([{ ids: ["j29", one.id] }]);
    expect([...feed.fresh]).toEqual([one.id]);
    vi.useRealTimers();
  });

  it("is at rest when there is nothing to do, also where it is drawn at each tick", async () => {
    vi.useFakeTimers();
    const server = new Server(3000);
    let isAway = false;
    let tries = 0;
    const feed = new Feed((query) => {
      tries += 1;
      return isAway ? Promise.reject(new ApiError(0, "away")) : server.get(query);
    }, () => false);
    const stop = feed.tick.subscribe(() => feed.look(0, 20)); // as the table does
    feed.ask(list);
    await settle();
    feed.look(400, 420);
    await settle();
    feed.look(0, 20);
    feed.heard("job", { id: server.entries[410]!.id }); // there, and out of view
    await pass();
    const [drawn, asked] = [feed.tick.value, tries];
    for (let n = 0; n < 10; n++) await pass();
    expect([feed.tick.value, tries]).toEqual([drawn, asked]);
    isAway = true;
    feed.heard("job", { id: "j2999" });
    for (let n = 0; n < 10; n++) await pass();
    expect(tries).toBe(asked + 1);
    isAway = false;
    stop();
    feed.look(400, 420);
    feed.retry();
    await pass();
    expect(server.asked.at(-1)).toEqual({ ids: [server.entries[410]!.id] });
    vi.useRealTimers();
  });

  it("keeps its rows when the server is away, and asks again when told", async () => {
    const server = new Server(300);
    let isAway = false;
    const feed = new Feed((query) => (isAway ? Promise.reject(new ApiError(0, "away")) : server.get(query)), () => false);
    feed.ask(list);
    await settle();
    isAway = true;
    feed.look(190, 210);
    await settle();
    expect(feed.error).toBeInstanceOf(ApiError);
    expect(feed.book?.row(0)?.id).toBe("j299");
    isAway = false;
    feed.retry();
    await settle();
    expect(feed.error).toBe(null);
    expect(feed.book?.row(200)?.id).toBe("j99");
  });
});

describe("filters", () => {
  it("has midnights for days, by the clock that is shown", () => {
    const now = Date.UTC(2026, 10, 28, 20, 30);
    expect(sinceWhen("today", now, true)).toBe("2026-11-28T00:00:00.000Z");
    expect(sinceWhen("yesterday", now, true)).toBe("2026-11-27T00:00:00.000Z");
    expect(sinceWhen("7d", now, true)).toBe("2026-11-21T00:00:00.000Z");
    expect(sinceWhen("2026-02-03", now, true)).toBe("2026-02-03T00:00:00.000Z");
    expect(new Date(sinceWhen("today", now, false)).getHours()).toBe(0);
    expect(sinceWhen("last week", now, true)).toBe("last week"); // the server says what is wrong with it
  });

  it("asks for what the address says and nothing else", () => {
    const place = { status: "ACTIVE", q: "a,b", view: "x", sort: "insertedAt", tag: "" };
    expect(asked(place, 0, true)).toEqual({ status: "ACTIVE", q: "a,b", sort: "insertedAt" });
    expect(asked({ sort: "-cost" }, 0, true)).toEqual({});
  });

  it("knows which lists have places", () => {
    expect(isCounted({})).toBe(true);
    expect(isCounted({ status: "COMPLETED,EXECUTING", sort: "insertedAt" })).toBe(true);
    expect(isCounted({ status: "DRAFT" })).toBe(false);
    expect(isCounted({ q: "wing" })).toBe(false);
  });

  it("tells of a row whether it is among those asked for", () => {
    const bad = row(1, { outcome: { verdict: "not converged", isGood: false, cause: "", message: "" }, tags: ["CFD"] });
    const yes = (query: Query, one = bad): boolean => matches(one, query);
    expect(yes({})).toBe(true);
    expect([yes({ status: "COMPLETED" }), yes({ status: "ACTIVE" }), yes({ status: "DRAFT,COMPLETED" })]).toEqual([true, false, true]);
    expect(yes({ status: "ACTIVE" }, row(1, { status: "Waiting for Queue" }))).toBe(true);
    expect(yes({ status: "DRAFT" }, row(1, { status: "" }))).toBe(true);
    expect([yes({ outcome: "NOT_CONVERGED" }), yes({ outcome: "BAD" }), yes({ outcome: "GOOD" })]).toEqual([true, true, false]);
    expect(yes({ outcome: "BAD" }, row(1))).toBe(false);
    expect([yes({ tag: "cfd" }), yes({ tag: "mesh" }), yes({ tag: "mesh,cfd" })]).toEqual([true, false, true]);
    expect([yes({ analysis: "openfoam" }), yes({ analysis: "python" })]).toEqual([true, false]);
    expect([yes({ owner: "me" }), yes({ owner: "shared" }), yes({ owner: "ADA@lab.example" })]).toEqual([true, false, true]);
    expect([yes({ q: "WING" }), yes({ q: "wong" })]).toEqual([true, false]);
    expect([yes({ since: "2026-01-01T00:00:00Z" }), yes({ since: "2026-02-01T00:00:00Z" })]).toEqual([true, false]);
    expect(valueOf("Waiting for Cluster")).toBe("WAITING_FOR_CLUSTER");
  });
});

describe("Selection", () => {
  const idAt = (n: number): string | undefined => (n < 20 ? `j${n}` : undefined);

  it("takes and leaves single rows", () => {
    const one = Selection.none.toggled("j1", 1).toggled("j2", 2);
    expect([...one.ids]).toEqual(["j1", "j2"]);
    expect(one.toggled("j1", 1).has("j1")).toBe(false);
    expect(Selection.none.isEmpty).toBe(true);
  });

  it("takes ranges from where the last one was chosen, in both directions", () => {
    const from = Selection.none.toggled("j5", 5);
    const [down] = from.ranged(7, idAt);
    expect([...down.ids].sort()).toEqual(["j5", "j6", "j7"]);
    const [up] = down.ranged(4, idAt);
    expect(up.has("j4") && up.has("j7")).toBe(true);
    const [rest, missing] = from.ranged(22, idAt);
    expect([rest.ids.size, missing]).toEqual([15, 3]);
  });

  it("of all that match leaves out one: those that are loaded stay", () => {
    const all = Selection.all();
    expect([all.has("whatever"), all.isEmpty]).toEqual([true, false]);
    const some = all.toggled("j1", 1, ["j0", "j1", "j2"]);
    expect([some.isAll, [...some.ids]]).toEqual([false, ["j0", "j2"]]);
    expect(all.cleared().isEmpty).toBe(true);
  });
});

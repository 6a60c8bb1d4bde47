import { describe, expect, it, vi } from "vitest";
import { cli, cliServer, curl, quoted } from "../src/lib/curl";
import { differences } from "../src/lib/differences";
import { UNSEEN, json, seen } from "../src/lib/pasted";
import { standing, timeline } from "../src/pages/job/standing";
import { added, flattened, parentOf, type TreePage } from "../src/pages/job/tree";

vi.stubGlobal("document", { baseURI: "http://lab:8420/" });
const { asked, calls, literal, python } = await import("../src/pages/job/commands");

describe("requests to copy", () => {
  it("are one word each in a shell, whatever is in them", () => {
    expect(quoted("a/b?c=1")).toBe("'a/b?c=1'");
    expect(quoted("it's $HOME")).toBe(`'it'\\''s $HOME'`);
    const call = { title: "t", method: "POST" as const, path: "jobs/x/", json: { email: "o'hara@x" } };
    expect(curl("http://h/api/v2/", call)).toBe(
      `curl -sS \\\n  -X POST \\\n  -H "Authorization: Token $SIMYARD_API_KEY" \\\n  -H 'Content-Type: application/json' --data '{"email":"o'\\''hara@x"}' \\\n  http://h/api/v2/jobs/x/`,
    );
  });

  it("are those of the command", () => {
    const get = { title: "t", method: "GET" as const, path: "jobs/a%2Fb/", query: { q: "it's $x", page: "2" } };
    expect(cli(get)).toBe(`simyard api jobs/a%2Fb/ \\\n  -q 'q=it'\\''s $x' \\\n  -q page=2`);
    expect(cli({ title: "t", method: "POST", path: "jobs/x/stop/" })).toBe("simyard api POST jobs/x/stop/");
    expect(cli({ title: "t", method: "DELETE", path: "jobs/x/" })).toBe("simyard api DELETE jobs/x/");
    expect(cli({ title: "t", method: "POST", path: "jobs/", json: { a: "'" } })).toBe(
      `simyard api jobs/ \\\n  --json '{"a":"'\\''"}'`,
    );
    const file = { title: "t", method: "POST" as const, path: "files/contents/", form: "a b.zip" };
    expect(cli(file)).toBe("simyard api files/contents/ \\\n  --file 'a b.zip'");
    const saved = { title: "t", method: "GET" as const, path: "examples/a/contents/", into: "a b.zip" };
    expect(cli(saved)).toBe("simyard api examples/a/contents/ \\\n  -o 'a b.zip'");
    expect(curl("http://h/", saved)).toContain(" \\\n  -o 'a b.zip' \\\n  http://h/examples/a/contents/");
    expect(cliServer("https://lab/sim/api/v2/")).toBe("export SIMYARD_URL=https://lab/sim");
  });

  it("hide nothing that a terminal acts on before the shell sees it", () => {
    const bad = "a\x03\n\x7f\x9b\u2028\u202eb";
    const encoded = "a%03%0A%7F%C2%9B%E2%80%A8%E2%80%AEb";
    const escaped = String.raw`a\u0003\n\u007f\u009b\u2028\u202eb`;
    const get = { title: "t", method: "GET" as const, path: "jobs/x/", query: { path: bad, q: "it's" } };
    expect(cli(get)).toBe(`simyard api 'jobs/x/?path=${encoded}&q=it%27s'`);
    expect(curl("http://h/", get)).toContain(`'http://h/jobs/x/?path=${encoded}&q=it%27s'`);
    const post = { title: "t", method: "POST" as const, path: "jobs/", json: { [bad]: [bad] } };
    for (const command of [cli(post), curl("http://h/", post)]) {
      expect(command).toContain(`'{"${escaped}":["${escaped}"]}'`);
    }
    expect(literal(bad)).toBe(`"${escaped}"`);
    expect(json({ a: bad }, 2)).toBe(`{\n  "a": "${escaped}"\n}`);
    const screen = (text: string) => calls({ job: "x", run: "1", place: { path: text, q: text, sel: `+${text}` } }).flatMap((group) => group.calls);
    for (const call of screen(bad)) {
      for (const text of [call.title, cli(call), curl("http://h/", call)]) {
        expect(text.replaceAll(" \\\n  ", "")).not.toMatch(UNSEEN);
      }
    }
    const lines = python("http://h/", screen(bad)).split("\n");
    expect(lines.filter((line) => UNSEEN.test(line))).toEqual([]);
    expect(lines).toHaveLength(python("http://h/", screen("a")).split("\n").length);
  });

  it("has names in which everything is seen", () => {
    expect(seen("rtl\u202egnp.exe")).toBe("rtl<U+202E>gnp.exe");
    expect(seen("a\nb\tc\x7f\x9b\u2028")).toBe("a\u240ab\u2409c\u2421<U+009B><U+2028>");
    expect(seen("Flügel \u{1f600}/מהירות 1.vtu")).toBe("Flügel \u{1f600}/מהירות 1.vtu");
  });

  it("are Python's values", () => {
    expect(literal({ a: [1, null, true], 'b"': "c\n" })).toBe('{"a": [1, None, True], "b\\"": "c\\n"}');
    const text = python("http://h/api/v2/", [{ title: "The log", method: "GET", path: "jobs/x/log/", query: { q: "a b" }, isText: true }]);
    expect(text).toContain('reply = session.get(base + "jobs/x/log/", params={"q": "a b"})');
    expect(text).toContain("print(reply.text)");
  });

  it("have what the view shows now", () => {
    const log = calls({ job: "a/b", run: "2", place: { path: "x/log.y", q: "NaN" } }).find((group) => group.view === "Log")!;
    expect(log.calls[1]).toMatchObject({ path: "jobs/a%2Fb/runs/2/log/search/", query: { path: "x/log.y", q: "NaN" } });
    const place = asked({ q: "a+", regex: "1", case: "1", sel: "+a/|-a/b.txt", at: "7", wrap: "1" });
    expect(place).toEqual({ path: "", q: "a+", regex: "1", case: "1", sel: "+a/|-a/b.txt" });
    const all = calls({ job: "x", run: "2", place }).flatMap((group) => group.calls);
    expect(all.find((call) => call.path.endsWith("search/"))!.query).toEqual({ q: "a+", regex: "1", case: "1" });
    const zip = all.find((call) => call.path.endsWith("archives/"))!;
    expect(zip.json).toEqual({ include: ["a/"], exclude: ["a/b.txt"], runs: [2] });
    expect(zip.title).toContain("what is chosen");
  });
});

describe("where a job is", () => {
  const at = (second: number): string => `2026-03-02T09:15:0${second}Z`;
  const history = [
    { status: "Completed", statusDate: at(9), statusReason: "Completed successfully" },
    { status: "Executing", statusDate: at(4), statusReason: null },
    { status: "Queued", statusDate: at(1), statusReason: "8 of 8 cores busy" },
  ];

  it("is told by its newest word; none is a draft", () => {
    expect(standing(history)).toMatchObject({ isOver: true, isExecuting: false, isDraft: false });
    expect(standing(history.slice(1))).toMatchObject({ isOver: false, isExecuting: true });
    expect(standing([])).toMatchObject({ isDraft: true, isOver: false });
  });

  it("has a length for each word, which goes on until the end", () => {
    expect(timeline(history, Date.parse(at(9))).map((step) => step.seconds)).toEqual([3, 5, null]);
    expect(timeline(history.slice(1), Date.parse(at(8))).map((step) => step.seconds)).toEqual([3, 4]);
  });
});

describe("what is different to the job it was copied from", () => {
  it("is told by paths", () => {
    const before = { name: "a", analyses: [{ command: "x", cores: 1 }] };
    const after = { name: "a", analyses: [{ command: "y", cores: 1 }, { command: "z" }] };
    expect(differences(before, after)).toEqual([
      { path: "analyses.0.command", before: "x", after: "y" },
      { path: "analyses.1", before: "-", after: '{"command":"z"}' },
    ]);
    expect(differences(before, before)).toEqual([]);
  });
});

describe("a tree of files", () => {
  const page = (prefix: string, folders: string[], files: string[], next: string | null = null): TreePage => ({
    prefix,
    folders: folders.map((name) => ({ name, count: 1, bytes: 1, mtime: "" })),
    files: files.map((name) => ({ name, path: `${prefix}${name}`, id: null, bytes: 1, mtime: "", kind: "text" })),
    next,
    count: 3,
    bytes: 3,
    isLive: false,
    isPartial: false,
  });

  it("has rows of open folders only, and one where more follows", () => {
    const root = added(undefined, page("", ["a", "b"], ["z"], "more"));
    const known = new Map([
      ["", root],
      ["a/", added(undefined, page("a/", [], ["x"]))],
    ]);
    expect(flattened(known, new Set()).map((row) => row.key)).toEqual(["a/", "b/", "z", "\n"]);
    const open = flattened(known, new Set(["a/", "b/"]));
    expect(open.map((row) => `${row.level} ${row.key}`)).toEqual(["1 a/", "2 a/x", "1 b/", "2 b/\n", "1 z", "1 \n"]);
    expect(parentOf(open, 1)).toBe(0);
    expect(parentOf(open, 4)).toBe(-1);
    expect(added(root, page("", ["c"], [])).folders.map((folder) => folder.name)).toEqual(["a", "b", "c"]);
  });
});

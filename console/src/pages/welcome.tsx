/** The first minutes: what works here, and a real job from upload to result, with the calls that it took. */

import { useEffect, useState } from "preact/hooks";
import { Link } from "wouter-preact";
import { boot } from "../api/boot";
import { address, api, part, request } from "../api/client";
import { jobPath, runPath } from "../api/jobs";
import { changed, useGet } from "../api/queries";
import type { Job, Page, Schemas, SeriesData, Status, StoredFile } from "../api/types";
import { cli, cliServer, curl, type Call } from "../lib/curl";
import { onEvent } from "../lib/events";
import { bytes, number } from "../lib/format";
import { jobHref } from "../lib/hrefs";
import { whyNot } from "../lib/rights";
import { messageOf } from "../lib/words";
import { CircleCheck, CircleDashed, CirclePlay, OctagonX, Play } from "../ui/icons";
import { Languages, type Language } from "../ui/languages";
import { Banner, Button, CopyButton, Failure, Panel, Skeleton, Sparkline } from "../ui/parts";
import { Code } from "../ui/scroll";
import { useCrumbs } from "../ui/shell";
import "./welcome/welcome.css";

type Body = { name: string; jobanalyses: { inputFiles: { id: string }[]; command: string }[] };
type Example = Omit<Schemas["Example"], "job"> & { job: Body };
type Stage = "upload" | "create" | "submit" | "watch" | "results";

const STAGES: [Stage, string][] = [
  ["upload", "Upload the case"],
  ["create", "Set up the job"],
  ["submit", "Submit it"],
  ["watch", "Watch it converge"],
  ["results", "Get the results"],
];
const LOOK_MS = 1_000;

export default function Welcome() {
  useCrumbs({ label: "First minutes" });
  const examples = useGet<Example[]>("examples/", {}, { stale: 60_000 });
  const all = examples.data ?? [];
  const example = all.find((each) => each.isRunnable) ?? all[0];
  return (
    <div class="page stack">
      <h1>First minutes with Simyard</h1>
      <div class="welcome">
        <div class="grow stack">
          {examples.error ? (
            <Failure error={examples.error} what="The example" again={() => void examples.refetch()} />
          ) : null}
          {!examples.data && !examples.error ? <Skeleton /> : null}
          {example ? <Run example={example} /> : null}
          <p>
            Or <Link href="/jobs/new">set up a job of your own</Link>, or{" "}
            <Link href="/jobs?view=list">go to the jobs</Link>. This page is in the menu at the top right again.
          </p>
        </div>
        <Checks />
      </div>
    </div>
  );
}

function Checks() {
  const here = boot.value!;
  const solvers = here.solvers.toSorted(
    (a, b) => Number(b.installed) - Number(a.installed) || a.name.localeCompare(b.name),
  );
  const missing = solvers.filter((each) => !each.installed);
  return (
    <Panel title="What is here" class="welcome-checks">
      <dl class="facts">
        <dt>Isolation</dt>
        <dd>
          {here.isolation} <span class="quiet">{here.isolationDetail}</span>
        </dd>
        <dt>Machine</dt>
        <dd>
          {here.cores} cores, {bytes(here.memoryBytes)}
        </dd>
        {solvers
          .filter((each) => each.installed)
          .map((each) => [
            <dt key={`${each.code}-name`}>{each.name}</dt>,
            <dd key={each.code}>
              <CircleCheck size={14} class="icon" /> {each.version || "installed"}
            </dd>,
          ])}
      </dl>
      {missing.length ? (
        <details>
          <summary>{missing.length} more can be installed</summary>
          <dl class="facts">
            {missing.map((each) => [
              <dt key={`${each.code}-name`}>{each.name}</dt>,
              <dd key={each.code}>{each.installHint || "-"}</dd>,
            ])}
          </dl>
        </details>
      ) : null}
    </Panel>
  );
}

function Run({ example }: { example: Example }) {
  const [stage, enter] = useState<Stage | "">("");
  const [failed, fail] = useState("");
  const [calls, record] = useState<Call[]>([]);
  const [job, created] = useState("");
  const [status, told] = useState<Status | null>(null);
  const made = (call: Call): void => record((before) => [...before, call]);

  const go = async (): Promise<void> => {
    fail("");
    record([]);
    created("");
    told(null);
    try {
      enter("upload");
      const path = `examples/${part(example.name)}/contents/`;
      const archive = await (await request("GET", path)).blob();
      made({ title: "Download the case", method: "GET", path, into: example.fileName });
      const form = new FormData();
      form.append("file", archive, example.fileName);
      const file = await api<StoredFile>("POST", "files/contents/", { body: form });
      made({ title: "Upload the case", method: "POST", path: "files/contents/", form: example.fileName });
      enter("create");
      const [first, ...rest] = example.job.jobanalyses;
      const json: Body = { ...example.job, jobanalyses: [{ ...first!, inputFiles: [{ id: file.id }] }, ...rest] };
      const { id } = await api<Job>("POST", "jobs/", { json });
      made({ title: "Set up the job", method: "POST", path: "jobs/", json });
      created(id);
      enter("submit");
      await api("POST", `${jobPath(id)}submit/`);
      made({ title: "Submit it", method: "POST", path: `${jobPath(id)}submit/` });
      made({ title: "Watch it", method: "GET", path: `${jobPath(id)}statuses/` });
      changed("jobs/");
      enter("watch");
    } catch (error) {
      fail(messageOf(error));
    }
  };

  // The events say when to look.
  useEffect(() => {
    if (!job || stage !== "watch") return;
    let isOver = false; // looks overlap: the first that sees the end is the last that counts
    const look = async (): Promise<void> => {
      const page = await api<Page<Status>>("GET", `${jobPath(job)}statuses/`).catch(() => null);
      const newest = page?.results[0];
      if (!newest || isOver) return;
      told(newest);
      if (newest.status !== "Completed") return;
      isOver = true;
      made({ title: "Get the results", method: "GET", path: `${jobPath(job)}files/` });
      if (newest.statusReason === "Completed successfully") enter("results");
      else fail(newest.statusReason ?? "The job ended.");
    };
    void look();
    const stop = onEvent((_name, data) => {
      if (data["id"] === job || data["job"] === job) void look();
    });
    return () => {
      isOver = true;
      stop();
    };
  }, [job, stage]);

  const at = stage === "" ? -1 : STAGES.findIndex(([name]) => name === stage);
  const isRunning = stage !== "" && stage !== "results" && !failed;
  return (
    <Panel title={example.title}>
      <div class="stack">
        <p>{example.about} It takes the five steps that every job has.</p>
        <div class="row">
          <Button
            kind="primary"
            icon={Play}
            disabled={isRunning}
            why={example.isRunnable ? whyNot() : example.whyNot}
            onClick={() => void go()}
          >
            {stage ? "Run it again" : `Run the ${example.short} example`}
          </Button>
          {example.isRunnable ? null : <span class="quiet">{example.whyNot}</span>}
        </div>
        <ol class="stages" aria-label="Steps">
          {STAGES.map(([name, label], n) => {
            const isDone = n < at || stage === "results";
            const isBad = failed && n === at;
            const Icon = isBad ? OctagonX : isDone ? CircleCheck : n === at ? CirclePlay : CircleDashed;
            return (
              <li key={name} class={isBad ? "tone-bad" : isDone ? "tone-good" : n === at ? "tone-running" : ""}>
                <Icon size={16} class="icon" /> {label}
                {name === "watch" && n === at && status ? <span class="quiet"> {status.status}</span> : null}
                <span class="hidden-visually">
                  {isBad ? "failed" : isDone ? "done" : n === at ? "under way" : "to come"}
                </span>
              </li>
            );
          })}
        </ol>
        {failed ? <Banner tone="bad">{failed}</Banner> : null}
        {job ? <Curves job={job} isLive={isRunning} /> : null}
        {job ? (
          <p>
            <Link href={jobHref(job)}>{stage === "results" ? "Look at its results" : "Watch it on its own page"}</Link>
          </p>
        ) : null}
        {calls.length ? <Happened calls={calls} /> : null}
      </div>
    </Panel>
  );
}

function Curves({ job, isLive }: { job: string; isLive: boolean }) {
  const data = useGet<SeriesData>(
    `${runPath(job, "1")}series/data/`,
    { points: 200 },
    { keep: true, every: isLive ? LOOK_MS : 0 },
  );
  useEffect(() => {
    if (!isLive) void data.refetch();
  }, [isLive]);
  const entries = Object.entries(data.data?.keys ?? {}).filter(([, values]) => values.last.length > 1);
  if (!entries.length) return <p class="quiet">The curves are drawn as soon as the solver prints its first steps.</p>;
  return (
    <ul class="curves">
      {entries.map(([key, { last }]) => {
        const isResidual = key.startsWith("residuals/");
        const values = last.map((value) => (isResidual ? Math.log10(Number(value)) : Number(value)));
        const newest = last.at(-1) ?? null;
        return (
          <li key={key}>
            <span class="mono">{key}</span>
            <Sparkline values={values} label={`${key}, now ${number(newest)}`} width={160} height={36} />
            <span class="number">{number(newest)}</span>
          </li>
        );
      })}
    </ul>
  );
}

function Happened({ calls }: { calls: Call[] }) {
  const base = new URL(address(""), window.location.href).toString();
  const [lang, choose] = useState<Language>("curl");
  const each = calls.map((call) => `# ${call.title}\n${lang === "cli" ? cli(call) : curl(base, call)}`);
  const all = [...(lang === "cli" ? [cliServer(base)] : []), ...each].join("\n\n");
  return (
    <details class="stack-small" open>
      <summary>What just happened: the calls of the API</summary>
      <p class="quiet">
        The same from your terminal, with a key from <Link href="/settings/keys">your settings</Link> in{" "}
        <code>SIMYARD_API_KEY</code>.
      </p>
      <Languages chosen={lang} all={["curl", "cli"]} choose={choose} />
      <Code label="The calls">{all}</Code>
      <CopyButton text={all} />
    </details>
  );
}

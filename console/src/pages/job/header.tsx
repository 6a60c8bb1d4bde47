/** Which job this is, how it stands, and what can be done with it. */

import { useEffect, useState } from "preact/hooks";
import { Link, useLocation } from "wouter-preact";
import { boot } from "../../api/boot";
import { part } from "../../api/client";
import { copyOf, runAgain } from "../../api/jobs";
import type { Job, Run } from "../../api/types";
import { leftText, percent } from "../../lib/convergence";
import { duration } from "../../lib/format";
import { draftHref, jobHref } from "../../lib/hrefs";
import { useKeys } from "../../lib/keys";
import { usePlace, write } from "../../lib/query";
import { whyNot } from "../../lib/rights";
import { messageOf } from "../../lib/words";
import { Confirm, Dialog } from "../../ui/dialog";
import {
  Archive,
  Ban,
  ChevronLeft,
  ChevronRight,
  Copy,
  Ellipsis,
  Play,
  RotateCcw,
  Share2,
  Square,
  Tag,
  Trash2,
  X,
} from "../../ui/icons";
import { Menu, type Item } from "../../ui/menu";
import { Button, Field, useNow } from "../../ui/parts";
import { State } from "../../ui/state";
import { toast } from "../../ui/toasts";
import * as actions from "./actions";
import type { Live } from "./live";
import { elapsed, isOver, type Now } from "./standing";
import { useConvergence } from "./overview";
import { Share } from "./share";

const SNAPSHOT = "A zip of its folder is being made: it comes among the files.";
const FORCE_S = 10; // before one may want to end the waiting for a solver

type Props = {
  job: Job;
  run: Run | undefined;
  runId: string;
  count: number;
  now: Now;
  live: Live | null;
  isCollecting: boolean;
  stored: number;
};

type Asking = "stop" | "stop-run" | "force" | "delete" | "share" | "restart" | "tags" | "again" | null;

export function Header({ job, run, runId, count, now, live, isCollecting, stored }: Props) {
  const [, go] = useLocation();
  const [, change] = usePlace();
  const [asking, ask] = useState<Asking>(null);
  const [stopAsked, setStopAsked] = useState<number | null>(null);
  const time = useNow(1000, !now.isOver && !now.isDraft);
  const convergence = useConvergence(job.id, runId, live, Boolean(live));
  useEffect(() => {
    if (now.isOver) setStopAsked(null);
  }, [now.isOver]);

  const isMine = job.owner === boot.value?.user.email;
  const no = whyNot();
  const why = no || (isMine ? "" : `Only ${job.owner} may do this`);
  const stopSince = now.isStopping && now.since ? new Date(now.since).getTime() : stopAsked;
  const stopping = stopSince === null ? null : (time - stopSince) / 1000;
  const isOn = !now.isOver && !now.isDraft;
  const stopWhy = why || (isOn ? "" : "It is not on its way");
  const isFinished = isOver(run);
  const close = (): void => ask(null);
  const doing = async (what: () => Promise<unknown>, said: string): Promise<void> => {
    try {
      await what();
      if (said) toast(said, "good");
    } catch (error) {
      toast(messageOf(error), "bad");
    }
  };
  const edit = (): Promise<void> => doing(async () => go(draftHref((await copyOf(job.id)).id)), "");
  const again = async (): Promise<void> => {
    const done = await runAgain(job.id);
    if ("job" in done) return go(jobHref(done.job));
    toast(`It was not started: ${done.why}`, "bad");
    go(draftHref(done.draft));
  };
  const toRun = (value: string): void => change({ run: value === "1" ? "" : value, at: "", x: "" });
  const to = (by: number): void => {
    const next = Math.min(count, Math.max(1, Number(runId) + by));
    if (String(next) !== runId) toRun(String(next));
  };

  const group = "Job";
  useKeys([
    { keys: "o", label: "Log of this job", group, run: () => go(jobHref(job.id, "log", { run: runId })) },
    { keys: "f", label: "Files of this job", group, run: () => go(jobHref(job.id, "files", { run: runId })) },
    ...(why ? [] : [{ keys: "r", label: "Run this job again", group, run: () => ask("again") }]),
    ...(stopWhy || stopping !== null ? [] : [{ keys: "s", label: "Stop this job", group, run: () => ask("stop") }]),
    ...(count > 1
      ? [
          { keys: "[", label: "Previous run", group, run: () => to(-1) },
          { keys: "]", label: "Next run", group, run: () => to(1) },
        ]
      : []),
  ]);

  const stopRun: Item = {
    label: `Stop run ${runId} only`,
    icon: Ban,
    run: () => ask("stop-run"),
    why: why || (isFinished ? "This run is at its end" : ""),
  };
  const passed = elapsed(run, time);
  const { progress = null, eta = null } = (live && stopping === null && convergence.data) || {};
  const far = [progress === null ? "" : percent(progress), eta ? leftText(eta) : ""].filter(Boolean).join(", ");
  return (
    <header class="job-head">
      <div class="row">
        <h1 class="ellipsis" title={job.name}>
          <bdi>{job.name || job.id}</bdi>
        </h1>
        <State
          status={now.status}
          outcome={now.isOver && count === 1 ? (run?.outcome ?? null) : null}
          reason={now.reason}
        />
        {passed !== null ? (
          <span class="quiet nowrap">{duration(passed >= 10 ? Math.floor(passed) : passed)}</span>
        ) : null}
        {far ? <span class="quiet nowrap">{far}</span> : null}
        {isCollecting && !now.isOver ? (
          <span class="quiet">collecting outputs{stored ? `, ${stored} stored` : ""}</span>
        ) : null}
        {!now.isOver && !now.isExecuting && now.reason ? <span class="quiet">{now.reason}</span> : null}
      </div>
      <div class="row job-actions">
        {count > 1 ? <RunSwitch runId={runId} count={count} to={to} change={toRun} /> : null}
        {count > 1 ? (
          <Link class="button small" href={`/studies/${part(job.id)}`}>
            Study
          </Link>
        ) : null}
        {now.isDraft ? (
          <Button
            kind="primary"
            icon={Play}
            why={why}
            onClick={() => void doing(() => actions.submit(job.id), "It is on its way.")}
          >
            Submit
          </Button>
        ) : null}
        {now.isExecuting && run && !isFinished ? (
          <Button icon={Archive} why={why} onClick={() => void doing(() => actions.snapshot(job.id, run.id), SNAPSHOT)}>
            Snapshot
          </Button>
        ) : null}
        {isOn ? (
          stopping === null ? (
            <Button icon={Square} kind="danger" why={stopWhy} onClick={() => ask("stop")}>
              Stop
            </Button>
          ) : (
            <>
              <span role="status" class="badge tone-warning">
                Stopping since {duration(Math.max(0, Math.floor(stopping)))}
              </span>
              {stopping > FORCE_S && !isCollecting ? (
                <Button kind="danger" why={why} onClick={() => ask("force")}>
                  Force
                </Button>
              ) : null}
            </>
          )
        ) : null}
        <Button icon={Share2} why={why} onClick={() => ask("share")}>
          Share
        </Button>
        <Menu
          label="More actions"
          icon={Ellipsis}
          items={[
            { label: "Run again", icon: RotateCcw, run: () => ask("again"), why: no },
            { label: "Edit a copy", icon: Copy, run: () => void edit(), why: no },
            {
              label: "Restart from checkpoint",
              icon: Play,
              run: () => ask("restart"),
              why: why || (isFinished ? "" : "It is not at its end"),
            },
            ...(count > 1 ? [stopRun] : []),
            { label: "Tags", icon: Tag, run: () => ask("tags"), why },
            { label: "Delete", icon: Trash2, run: () => ask("delete"), why: why || (isOn ? "Stop it first" : "") },
          ]}
        />
      </div>
      {job.tags.length ? (
        <div class="row tags">
          {job.tags.map((each) => (
            <Link key={each} class="chip" href={`/jobs?${write({ tag: each })}`}>
              <bdi>{each}</bdi>
            </Link>
          ))}
        </div>
      ) : null}

      {asking === "stop" || asking === "stop-run" ? (
        <Confirm
          title={asking === "stop" ? `Stop ${job.name}?` : `Stop run ${runId} of ${job.name}?`}
          verb={asking === "stop" ? "Stop the job" : "Stop the run"}
          isDanger
          onClose={close}
          onConfirm={async () => {
            if (asking === "stop-run") return actions.stopRun(job.id, runId);
            await actions.stop(job.id);
            setStopAsked(Date.now());
          }}
        >
          <p>What it has written so far is kept, and its outputs are stored as those of a run that ended by itself.</p>
          <p class="quiet">
            A solver that can be asked writes its state and ends in good order, which may take a minute. Others end at
            once.
          </p>
        </Confirm>
      ) : null}
      {asking === "force" ? (
        <Confirm
          title={`Do not wait for ${job.name}?`}
          verb="End it now"
          isDanger
          onClose={close}
          onConfirm={() => actions.stop(job.id)}
        >
          <p>
            Its processes are told to end without waiting for the solver to write its state, and what does not end is
            killed soon after. What is in its folder is kept.
          </p>
        </Confirm>
      ) : null}
      {asking === "delete" ? (
        <Confirm
          title={`Delete ${job.name}?`}
          verb="Delete the job"
          isDanger
          onClose={close}
          onConfirm={async () => {
            await actions.remove(job.id);
            toast("The job is deleted.");
            go("/jobs");
          }}
        >
          <p>The job and all its outputs are removed for good. Its inputs stay in your library.</p>
        </Confirm>
      ) : null}
      {asking === "again" ? (
        <Confirm title={`Run ${job.name} again?`} verb="Run it again" onClose={close} onConfirm={again}>
          <p>A new job with the same inputs, analyses and hardware is submitted at once.</p>
        </Confirm>
      ) : null}
      {asking === "restart" ? <Restart job={job} run={runId} onClose={close} /> : null}
      {asking === "tags" ? <Tags job={job} onClose={close} /> : null}
      {asking === "share" ? <Share job={job} onClose={close} /> : null}
    </header>
  );
}

type SwitchProps = { runId: string; count: number; to: (by: number) => void; change: (value: string) => void };

function RunSwitch({ runId, count, to, change }: SwitchProps) {
  return (
    <div class="row run-switch" role="group" aria-label="Run">
      <Button small icon={ChevronLeft} label="Previous run ([)" onClick={() => to(-1)} />
      <label>
        Run{" "}
        <input
          class="input"
          type="number"
          min={1}
          max={count}
          value={runId}
          onChange={(event) => {
            const value = Number(event.currentTarget.value);
            if (Number.isInteger(value) && value >= 1 && value <= count) change(String(value));
          }}
        />{" "}
        of {count}
      </label>
      <Button small icon={ChevronRight} label="Next run (])" onClick={() => to(1)} />
    </div>
  );
}

function Restart({ job, run, onClose }: { job: Job; run: string; onClose: () => void }) {
  const [command, setCommand] = useState("");
  return (
    <Confirm
      title={`Restart ${job.name} from its checkpoint?`}
      verb="Restart"
      onClose={onClose}
      onConfirm={() => actions.restart(job.id, run, command)}
    >
      <p>
        Another attempt at this run goes on from what it has left. Its outputs take the place of those of the same name.
      </p>
      <Field
        label="Command"
        name="command"
        hint="In the place of that of the last analysis. Solvers like CalculiX, LAMMPS and GROMACS need one that reads the checkpoint."
      >
        {(props) => (
          <input
            {...props}
            class="input mono"
            value={command}
            placeholder={job.jobanalyses.at(-1)?.command ?? ""}
            onInput={(event) => setCommand(event.currentTarget.value)}
          />
        )}
      </Field>
    </Confirm>
  );
}

function Tags({ job, onClose }: { job: Job; onClose: () => void }) {
  const [name, setName] = useState("");
  const [error, fail] = useState("");
  const set = async (tag: string, isOn: boolean): Promise<void> => {
    fail("");
    try {
      await actions.tag(job.id, tag, isOn);
      if (isOn) setName("");
    } catch (problem) {
      fail(messageOf(problem));
    }
  };
  return (
    <Dialog title={`Tags of ${job.name}`} onClose={onClose} actions={<Button onClick={onClose}>Close</Button>}>
      <div class="row">
        {job.tags.map((each) => (
          <Button key={each} small icon={X} onClick={() => void set(each, false)} aria-label={`Take ${each} away`}>
            <bdi>{each}</bdi>
          </Button>
        ))}
        {job.tags.length ? null : <p class="quiet">No tags yet.</p>}
      </div>
      <form
        class="stack-small"
        onSubmit={(event) => {
          event.preventDefault();
          if (name.trim()) void set(name.trim(), true);
        }}
      >
        <Field label="New tag" name="tag" errors={error ? [error] : []}>
          {(props) => (
            <input
              {...props}
              class="input"
              value={name}
              maxLength={100}
              onInput={(event) => setName(event.currentTarget.value)}
            />
          )}
        </Field>
        <div>
          <Button kind="primary" type="submit">
            Add
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

/** A new job, in the steps that people know: saved as one types, checked by the server, submitted once. */

import { useEffect, useRef, useState } from "preact/hooks";
import { Link, useLocation } from "wouter-preact";
import { ApiError, api, part } from "../api/client";
import { changed, useGet } from "../api/queries";
import type { Page, Schemas } from "../api/types";
import { differences } from "../lib/differences";
import { bytes, duration, moment, number, ago } from "../lib/format";
import { draftHref, jobHref } from "../lib/hrefs";
import { list, usePlace, write } from "../lib/query";
import { whyNot } from "../lib/rights";
import { moveBatch, uploads, whatIsMissing } from "../lib/uploads";
import { messageOf, plural } from "../lib/words";
import { Confirm, Dialog } from "../ui/dialog";
import { Check, TriangleAlert } from "../ui/icons";
import { Banner, Button, Failure, Panel, Skeleton, Time, fieldId } from "../ui/parts";
import { Code, Table } from "../ui/scroll";
import { useCrumbs } from "../ui/shell";
import { toast } from "../ui/toasts";
import { EMPTY, formField, isStudy, single, withAnalysis, type Body, type Step } from "./new/body";
import { useDraft, type Draft, type Problem, type Saving } from "./new/draft";
import { BookedOn } from "./new/project";
import { Runs, Templates } from "./new/runs";
import { Hardware, Inputs, Parameters, Post, Software, useUploadedInputs } from "./new/steps";
import "./new/new.css";

const STEPS: [Step, string][] = [
  ["inputs", "Inputs"],
  ["parameters", "Parameters"],
  ["software", "Software"],
  ["hardware", "Hardware"],
  ["post", "Post-processing"],
  ["review", "Review"],
];

export default function NewJob() {
  const [place] = usePlace();
  // Another draft is another page: nothing of the one before is kept.
  const created = useRef("");
  const id = place["draft"] ?? "";
  return <Editor key={id === created.current ? "new" : id || "new"} onCreated={(made) => (created.current = made)} />;
}

const LABELS: [RegExp, string][] = [
  [/^name$/, "Name of the job"],
  [/\.command$/, "Command"],
  [/\.analysis(\.code)?$/, "Software"],
  [/\.analysis\.version$/, "Version"],
  [/\.coreType$/, "Core type"],
  [/\.coresPerSlot$/, "Cores"],
  [/\.slots$/, "Runs at once"],
  [/\.walltime$/, "Walltime"],
  [/\.inputFiles/, "Inputs"],
  [/\.envVars/, "Environment variables"],
  [/\.preProcessScript/, "Script before the run"],
  [/\.postProcessScript$/, "Script after the run"],
  [/\.postProcessScriptCommand/, "Command after the run"],
  [/^isLowPriority/, "Low priority"],
  [/^projectId/, "Project"],
  [/^tags/, "Tags"],
  [/^paramFile/, "Table of runs"],
  [/^caseFile/, "Table of cases"],
  [/^jobvariables/, "Variables"],
  [/^monteCarloIterations/, "Number of draws"],
  [/\.templateTasks/, "Templates"],
];

/** What the form calls a field; its path in the body where it has none. */
const labelOf = (field: string): string => LABELS.find(([pattern]) => pattern.test(field))?.[1] ?? field;

/** A message, with the name of what it is about where its field is of many. */
const textAt = ({ field, message }: Problem): string => {
  const variable = /\.envVars\.(.+)$/.exec(field)?.[1];
  return variable ? `${variable}: ${message}` : message;
};

/** Fields that make a job a study are shown in their own step; the server counts them to the others. */
const stepOf = (problem: Problem): Step =>
  ["name", "projectId"].includes(problem.field)
    ? "inputs"
    : /jobvariables|paramFile|caseFile|design|optimizer|templateTasks|monteCarlo/.test(problem.field)
      ? "parameters"
      : problem.step;

/** Where it is said: a field of the form, or among the rest of its step. */
const placeOfProblem = ({ field }: Problem): string => formField(field) || field;

/** Which of the analyses it is about, as the address has it. */
const atOf = ({ path }: Problem): string => (/^\d+$/.test(String(path[1])) ? String(path[1]) : "");

function Editor({ onCreated }: { onCreated: (id: string) => void }) {
  const [place, go] = usePlace();
  const [, open] = useLocation();
  const [batch, rename] = useState(() => place["draft"] ?? `new-${Date.now()}`);
  const [begin] = useState<Body>(() =>
    place["files"]
      ? withAnalysis(EMPTY, 0, { inputFiles: list(place["files"]).map((id) => ({ id, decompress: true })) })
      : EMPTY,
  );
  const isHere = useRef(true);
  useEffect(() => () => void (isHere.current = false), []);
  const draft = useDraft(place["draft"] ?? "", begin, (id) => {
    moveBatch(batch, id);
    if (!isHere.current) return; // it was saved when one had gone on to another page
    rename(id);
    onCreated(id); // the address has it from now on, and the page stays
    go({ draft: id, files: "" }, { replace: true });
  });
  const { body, edit, validation } = draft;
  const [isStudyAsked, askStudy] = useState(place["study"] === "1");
  const [isTried, tried] = useState(false);
  const [touched, touch] = useState<ReadonlySet<string>>(new Set());
  const [isBusy, busy] = useState(false);
  const [refusal, refuse] = useState<Problem[]>([]);
  const [said, say] = useState("");
  const summary = useRef<HTMLDivElement>(null);
  const form = useRef<HTMLFormElement>(null);
  useCrumbs({ label: "Jobs", href: "/jobs" }, { label: body.name || "New job" });
  const study = isStudyAsked || isStudy(body);
  const steps = STEPS.filter(([name]) => study || name !== "parameters");
  const step = steps.find(([name]) => name === place["step"])?.[0] ?? "inputs";
  const problems = refusal.length ? refusal : (validation?.problems ?? []);
  const at = Math.min(Number(place["at"]) || 0, Math.max(0, (body.jobanalyses?.length ?? 1) - 1));
  const isReady = !place["draft"] || (draft.draft !== null && !draft.draft.job);
  useUploadedInputs({ at: 0, batch, edit, isReady });
  // Who drops a file and looks at another page finds a draft to come back to.
  const isFirst = isReady && !draft.draft && uploads.value.some((each) => each.batch.startsWith(batch));
  useEffect(() => {
    if (isFirst) edit((now) => now);
  }, [isFirst]);
  useEffect(() => refuse([]), [body]);
  useEffect(() => {
    if (isTried) summary.current?.focus();
  }, [refusal, isTried]);

  if (draft.error) return <Failure error={draft.error} what="This draft" />;
  if (place["draft"] && !draft.draft) return <Skeleton rows={8} />;
  if (draft.draft?.job) {
    return (
      <Banner tone="good">
        This draft was submitted: <Link href={jobHref(draft.draft.job)}>the job</Link>.
      </Banner>
    );
  }
  const shows = (problem: Problem): boolean => isTried || step === "review" || touched.has(placeOfProblem(problem));
  const errors = (field: string): string[] =>
    problems.filter((each) => placeOfProblem(each) === field && shows(each)).map(textAt);
  const of = (name: Step): Problem[] => problems.filter((each) => stepOf(each) === name);
  const missing = whatIsMissing(uploads.value.filter((each) => each.batch.startsWith(batch)));
  const props = { body, at, batch, edit, errors };

  const submit = async (): Promise<void> => {
    tried(true);
    say("");
    // What was said of an earlier state keeps nobody: the server is asked about this one.
    if (draft.checked === body && validation?.problems.length) {
      summary.current?.focus();
      return;
    }
    busy(true);
    try {
      const job = await draft.submit();
      changed("jobs/");
      toast("Submitted.", "good");
      open(jobHref(job));
    } catch (error) {
      busy(false);
      const fields = error instanceof ApiError ? error.fields : {};
      const found = Object.entries(fields).flatMap(([field, messages]) =>
        messages.map((message): Problem => ({ path: field.split("."), field, step: "review", message })),
      );
      refuse(found);
      if (!found.length) say(messageOf(error));
    }
  };
  return (
    <div
      class="page new-job"
      onFocusOut={(event) => {
        const id = (event.target as HTMLElement).id;
        const found = problems.find((each) => fieldId(placeOfProblem(each)) === id);
        const all = found ? [placeOfProblem(found)] : fieldOf(id);
        if (all.length) touch((before) => new Set([...before, ...all]));
      }}
    >
      <div class="row spread">
        <h1 class="ellipsis">
          <bdi>{body.name || "New job"}</bdi>
        </h1>
        <div class="row">
          <SavedAt saving={draft.saving} said={draft.said} draft={draft.draft} />
          <label class="row">
            Job type
            <select
              class="input"
              value={study ? "study" : "basic"}
              onChange={(event) => {
                const isNow = event.currentTarget.value === "study";
                askStudy(isNow);
                if (!isNow) {
                  edit(single);
                  if (step === "parameters") go({ step: "inputs" });
                }
              }}
            >
              <option value="basic">Basic</option>
              <option value="study">Study</option>
            </select>
          </label>
        </div>
      </div>
      <nav aria-label="Steps" class="stepper">
        <ol>
          {steps.map(([name, label], n) => {
            const wrong = of(name).filter(shows).length;
            const isDone = name !== "review" && !of(name).length;
            return (
              <li key={name}>
                <Link
                  href={`/jobs/new?${write({ ...place, step: name })}`}
                  {...(name === step ? { "aria-current": "step" as const } : {})}
                >
                  {n + 1} {label}
                  {wrong ? (
                    <span class="step-errors">
                      <TriangleAlert size={14} class="icon" /> {wrong}
                    </span>
                  ) : isDone && validation ? (
                    <Check size={14} class="icon" aria-label="nothing missing" />
                  ) : null}
                </Link>
              </li>
            );
          })}
        </ol>
      </nav>
      {problems.some(shows) && (isTried || step === "review") ? (
        <div class="error-summary" ref={summary} tabIndex={-1} role="alert" aria-labelledby="error-title">
          <h2 id="error-title">What keeps it from being submitted</h2>
          <ul>
            {problems.map((problem) => (
              <li key={`${problem.field}-${problem.message}`}>
                <Link
                  href={`/jobs/new?${write({ ...place, step: stepOf(problem), at: atOf(problem) })}`}
                  onClick={() => {
                    const field = placeOfProblem(problem);
                    touch((before) => new Set([...before, field]));
                    setTimeout(() => document.getElementById(fieldId(field))?.focus(), 50);
                  }}
                >
                  {problem.field ? `${labelOf(problem.field)}: ` : ""}
                  {textAt(problem)}
                </Link>
              </li>
            ))}
          </ul>
        </div>
      ) : null}
      {said ? <Banner tone="bad">{said}</Banner> : null}
      {missing && step === "review" ? <Banner tone="warning">{missing}</Banner> : null}
      <div class="new-columns">
        <form
          class="grow stack"
          ref={form}
          tabIndex={-1}
          onSubmit={(event) => event.preventDefault()}
          aria-label={`Step: ${STEPS.find(([name]) => name === step)![1]}`}
        >
          <Analyses body={body} at={at} step={step} edit={edit} onChoose={(n) => go({ at: n ? String(n) : "" })} />
          {step === "inputs" ? <Inputs {...props} /> : null}
          {step === "parameters" ? <Parameters {...props} /> : null}
          {step === "software" ? <Software key={at} {...props} /> : null}
          {step === "hardware" ? <Hardware {...props} isStudy={study} /> : null}
          {step === "post" ? <Post {...props} /> : null}
          {step === "review" ? <Review body={body} warnings={validation?.warnings ?? []} /> : null}
          <Rest
            problems={of(step).filter(
              (each) => each.field && !formField(each.field) && shows(each) && ["", String(at)].includes(atOf(each)),
            )}
          />
          <Moves
            steps={steps.map(([name]) => name)}
            step={step}
            onGo={(name) => {
              go({ step: name });
              form.current?.focus(); // its first field is next, not the button that led here
            }}
            submit={
              <Button
                kind="primary"
                disabled={isBusy}
                why={whyNot() || missing}
                onClick={() => void submit()}
              >
                Submit
              </Button>
            }
          />
        </form>
        <aside class="new-side stack">
          <EstimateOf
            estimate={validation?.estimate ?? null}
            isStudy={study}
            once={of("parameters").length && !of("hardware").length ? PARAMETERS_SAID : HARDWARE_CHOSEN}
          />
          <Drafts now={draft.draft?.id ?? ""} />
        </aside>
      </div>
      {draft.conflict ? (
        <Conflict mine={body} theirs={draft.conflict} onTheirs={draft.takeTheirs} onMine={draft.keepMine} />
      ) : null}
    </div>
  );
}

/** What is said of something that the form has no field for: a script may have put it into the draft. */
function Rest({ problems }: { problems: Problem[] }) {
  if (!problems.length) return null;
  return (
    <ul class="stack-small plain-list">
      {problems.map((each) => (
        <li key={`${each.field}-${each.message}`} id={fieldId(each.field)} tabIndex={-1} class="field">
          <span class="error">
            {labelOf(each.field)}: {each.message}
          </span>
        </li>
      ))}
    </ul>
  );
}

/** Which fields a left input stands for: "field-jobanalyses-0-command" is no unique way back, so the usual ones. */
function fieldOf(id: string): string[] {
  const text = /^field-(.+)$/.exec(id)?.[1];
  return text ? [text.replaceAll("-", ".")] : [];
}

function SavedAt({ saving, said, draft }: { saving: Saving; said: string; draft: Draft | null }) {
  const text: Record<Saving, string> = {
    new: "not saved yet",
    saved: draft ? `saved ${moment(draft.updatedAt)}` : "saved",
    saving: "saving",
    unsaved: "not saved yet",
    offline: "not saved: the server does not answer; tried again",
    refused: `not saved: ${said}`,
  };
  return (
    <span class={saving === "refused" || saving === "offline" ? "tone-warning" : "quiet"} role="status">
      {text[saving]}
    </span>
  );
}

/** A job may run several programs one after the other. */
function Analyses({
  body,
  at,
  step,
  edit,
  onChoose,
}: {
  body: Body;
  at: number;
  step: Step;
  edit: (to: (body: Body) => Body) => void;
  onChoose: (n: number) => void;
}) {
  const count = body.jobanalyses?.length ?? 1;
  if (step === "review" || (count < 2 && step !== "software")) return null;
  return (
    <div class="row" role="group" aria-label="Analyses">
      {count > 1
        ? Array.from({ length: count }, (_, n) => (
            <button
              key={n}
              type="button"
              class="chip"
              aria-pressed={n === at ? "true" : "false"}
              onClick={() => onChoose(n)}
            >
              {n + 1} {body.jobanalyses?.[n]?.analysis?.code || "not chosen"}
            </button>
          ))
        : null}
      {step === "software" ? (
        <>
          <Button
            small
            onClick={() => {
              edit((now) => ({
                ...now,
                jobanalyses: [
                  ...(now.jobanalyses ?? [{}]),
                  { ...EMPTY.jobanalyses![0]!, hardware: { ...now.jobanalyses?.[0]?.hardware } },
                ],
              }));
              onChoose(count);
            }}
          >
            Add a step after it
          </Button>
          {count > 1 ? (
            <Button
              small
              onClick={() => {
                edit((now) => ({ ...now, jobanalyses: (now.jobanalyses ?? []).filter((_, n) => n !== at) }));
                onChoose(Math.max(0, at - 1));
              }}
            >
              Without this one
            </Button>
          ) : null}
        </>
      ) : null}
    </div>
  );
}

function Moves({
  steps,
  step,
  onGo,
  submit,
}: {
  steps: Step[];
  step: Step;
  onGo: (step: Step) => void;
  submit: preact.ComponentChildren;
}) {
  const n = steps.indexOf(step);
  const label = (name: Step): string => STEPS.find(([each]) => each === name)![1];
  return (
    <div class="row spread">
      {n > 0 ? <Button onClick={() => onGo(steps[n - 1]!)}>‹ {label(steps[n - 1]!)}</Button> : <span />}
      {n < steps.length - 1 ? (
        <Button kind="primary" onClick={() => onGo(steps[n + 1]!)}>
          {label(steps[n + 1]!)} ›
        </Button>
      ) : (
        submit
      )}
    </div>
  );
}

const HARDWARE_CHOSEN = "Once software and hardware are chosen.";
const PARAMETERS_SAID = "Once its parameters say which runs there are.";

type EstimateProps = { estimate: Schemas["Estimate"] | null; isStudy: boolean; once: string };

/** `once`: what has to be known before there is one. */
function EstimateOf({ estimate, isStudy, once }: EstimateProps) {
  const between = (low: number, high: number): string =>
    low === high ? number(low) : `${number(low)} to ${number(high)}`;
  return (
    <Panel title="Estimate">
      {estimate ? (
        <dl class="facts" aria-live="polite">
          {isStudy ? (
            <>
              <dt>Runs</dt>
              <dd>{estimate.runs || "not known before"}</dd>
            </>
          ) : null}
          <dt>Cores</dt>
          <dd>
            {estimate.cores}
            {estimate.clampedFrom ? (
              <div class="quiet">There are fewer than {estimate.clampedFrom} here: its ranks share them.</div>
            ) : null}
          </dd>
          <dt>Core-hours</dt>
          <dd>{between(estimate.coreHours.low, estimate.coreHours.high)}</dd>
          <dt>Cost</dt>
          <dd>{between(estimate.cost.low, estimate.cost.high)}</dd>
          <dt>Queue</dt>
          <dd>
            {estimate.queue.ahead ? `after ${estimate.queue.ahead} runs` : "nothing before it"}
            {estimate.queue.startsAt ? `, at the latest ${moment(estimate.queue.startsAt)}` : ""}
          </dd>
          <dt>Disk</dt>
          <dd>{bytes(estimate.diskBytes)} of inputs</dd>
          <dt>From</dt>
          <dd>{estimate.basis === "no history" ? "the walltime: this command did not run yet" : estimate.basis}</dd>
        </dl>
      ) : (
        <p class="quiet">{once}</p>
      )}
    </Panel>
  );
}

function Drafts({ now }: { now: string }) {
  const drafts = useGet<Page<Schemas["DraftSummary"]>>("drafts/", { page_size: 6 }, { stale: 0 });
  const [going, remove] = useState<Schemas["DraftSummary"] | null>(null);
  const others = (drafts.data?.results ?? []).filter((each) => each.id !== now);
  if (!others.length) return null;
  return (
    <Panel title="Other drafts">
      <ul class="stack-small plain-list">
        {others.map((each) => (
          <li key={each.id} class="row">
            <Link class="grow ellipsis" href={draftHref(each.id)}>
              <bdi>{each.name || "without a name"}</bdi>
            </Link>
            <span class="quiet">{ago(each.updatedAt)}</span>
            <Button small kind="plain" onClick={() => remove(each)} aria-label={`Delete the draft ${each.name}`}>
              ×
            </Button>
          </li>
        ))}
      </ul>
      {going ? (
        <Confirm
          title={`Delete the draft ${going.name || "without a name"}?`}
          verb="Delete"
          isDanger
          onClose={() => remove(null)}
          onConfirm={async () => {
            await api("DELETE", `drafts/${part(going.id)}/`);
            changed("drafts/");
          }}
        >
          <p>Its files stay in the library.</p>
        </Confirm>
      ) : null}
    </Panel>
  );
}

function Review({ body, warnings }: { body: Body; warnings: { message: string }[] }) {
  return (
    <div class="stack">
      {warnings.map((each) => (
        <Banner key={each.message} tone="warning">
          {each.message}
        </Banner>
      ))}
      <BookedOn body={body} />
      <Runs body={body} />
      {(body.jobanalyses ?? []).map((each, n) => (
        <Panel key={n} title={(body.jobanalyses?.length ?? 1) > 1 ? `Analysis ${n + 1}` : "What will run"}>
          <dl class="facts">
            <dt>Software</dt>
            <dd>
              {each.analysis?.code || "-"} {each.analysis?.version ?? ""}
            </dd>
            <dt>Command</dt>
            <dd>
              <Code label="Command">{each.command || "-"}</Code>
            </dd>
            <dt>Inputs</dt>
            <dd>
              {each.inputFiles?.length ?? 0} {plural(each.inputFiles?.length ?? 0, "file")}
            </dd>
            <Templates all={each.templateTasks ?? []} />
            <dt>On</dt>
            <dd>
              {each.hardware?.coresPerSlot ?? "-"} {plural(each.hardware?.coresPerSlot, "core")} of{" "}
              {each.hardware?.coreType || "-"}
              {each.hardware?.slots && each.hardware.slots > 1 ? `, ${each.hardware.slots} runs at once` : ""}
            </dd>
            <dt>Walltime</dt>
            <dd>
              {each.hardware?.walltime ? duration(each.hardware.walltime * 3600) : "as long as this server allows"}
            </dd>
            {each.postProcessScriptCommand ? (
              <>
                <dt>Afterwards</dt>
                <dd>
                  <Code label="Command after each run">{each.postProcessScriptCommand}</Code>
                </dd>
              </>
            ) : null}
          </dl>
        </Panel>
      ))}
    </div>
  );
}

/** Another tab was first: nothing is overwritten without a word. */
function Conflict({
  mine,
  theirs,
  onMine,
  onTheirs,
}: {
  mine: Body;
  theirs: Draft;
  onMine: () => void;
  onTheirs: () => void;
}) {
  const [isShown, show] = useState(false);
  return (
    <Dialog
      title={`This draft was changed in another tab ${ago(theirs.updatedAt)}`}
      isWide={isShown}
      isFirm
      onClose={() => {}}
      actions={
        <>
          <Button onClick={() => show(!isShown)}>{isShown ? "Hide the difference" : "Show the difference"}</Button>
          <Button onClick={onTheirs}>Take theirs</Button>
          <Button kind="primary" onClick={onMine}>
            Keep mine
          </Button>
        </>
      }
    >
      <p>
        The other version was saved <Time at={theirs.updatedAt} />. What you have here is not saved yet.
      </p>
      {isShown ? (
        <Table label="Differences">
          <thead>
            <tr>
              <th scope="col">Field</th>
              <th scope="col">Mine</th>
              <th scope="col">Theirs</th>
            </tr>
          </thead>
          <tbody>
            {differences(mine, theirs.body).map((each) => (
              <tr key={each.path}>
                <td class="mono">{each.path}</td>
                <td class="mono">{each.before}</td>
                <td class="mono">{each.after}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      ) : null}
    </Dialog>
  );
}

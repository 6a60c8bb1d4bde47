/** How a run ended, and the way there: each wait with its reason, the end with the line that tells it. */

import { Link } from "wouter-preact";
import type { Outcome, Run, Status } from "../../api/types";
import { bytes, duration, number } from "../../lib/format";
import { shownState } from "../../ui/state";
import { Panel, Span, Time, useNow } from "../../ui/parts";
import { logHref } from "./hrefs";
import { timeline } from "./standing";

type BannerProps = { job: string; run: Run; outcome: Outcome; reason: string | null };

export function OutcomeBanner({ job, run, outcome, reason }: BannerProps) {
  const { word, tone, icon: Icon } = shownState("Completed", outcome, reason);
  const { evidence } = outcome;
  const facts = [
    outcome.ending !== "exited" ? `ended: ${outcome.ending}` : "",
    outcome.exitCode === null ? "" : `exit code ${outcome.exitCode}`,
    outcome.signal ?? "",
    outcome.step,
    outcome.cpuSeconds ? `${duration(outcome.cpuSeconds)} of CPU` : "",
    outcome.quietSeconds && outcome.quietSeconds > 60 ? `silent for its last ${duration(outcome.quietSeconds)}` : "",
  ].filter(Boolean);
  const reached = Object.entries(outcome.used).filter(([, use]) => use.isReached);
  return (
    <section class={`banner outcome tone-${tone}`} aria-label="How it ended">
      <Icon size={20} class="icon" />
      <div class="grow stack-small">
        <p>
          <strong>
            {word}
            {outcome.message ? `: ${outcome.message}` : ""}
          </strong>
          {run.dateCompleted ? (
            <>
              {" "}
              <Time at={run.dateCompleted} />
            </>
          ) : null}
        </p>
        {outcome.advice ? <p>{outcome.advice}</p> : null}
        {reached.map(([name, use]) => (
          <p key={name}>
            Its limit of {name} was reached: {amount(name, use.most)}
            {use.limit === null ? "" : ` of ${amount(name, use.limit)}`}.
          </p>
        ))}
        {evidence ? (
          <p class="evidence">
            <Link href={logHref(job, run.id, evidence.path, evidence.offset)}>
              {evidence.path}, line {number(evidence.line)}
            </Link>
            <code>
              <bdi>{evidence.text}</bdi>
            </code>
          </p>
        ) : null}
        <p class="quiet small">{facts.join(", ")}</p>
      </div>
    </section>
  );
}

/** Of a resource: "7.9 GB" or "312". */
export const amount = (resource: string, value: number | null | undefined): string =>
  value === null || value === undefined ? "-" : /memory|disk|log|bytes/i.test(resource) ? bytes(value) : number(value);

export function Timeline({ history, isOver }: { history: readonly Status[]; isOver: boolean }) {
  const now = useNow(1000, !isOver);
  const steps = timeline(history, now);
  return (
    <Panel title="What it went through">
      <ol class="timeline">
        {steps.map((step, n) => {
          const { tone, icon: Icon } = shownState(step.status, null, step.statusReason);
          const isLast = n === steps.length - 1;
          return (
            <li
              key={`${step.statusDate} ${step.status}`}
              {...(isLast && !isOver ? { "aria-current": "step" as const } : {})}
            >
              <Icon size={16} class={`icon ink-${tone}`} />
              <span>
                <strong class={isLast ? "" : "plain"}>{step.status}</strong> <Time at={step.statusDate} />
                {step.seconds !== null && (step.seconds >= 1 || isLast) ? (
                  <span class="quiet">
                    {" "}
                    for <Span seconds={step.seconds} />
                  </span>
                ) : null}
                {step.statusReason ? <span class="reason">{step.statusReason}</span> : null}
              </span>
            </li>
          );
        })}
      </ol>
    </Panel>
  );
}

/** What makes a job a study, and its templates, as the last step tells it. */

import { number } from "../../lib/format";
import { plural } from "../../lib/words";
import { Panel } from "../../ui/parts";
import { isOutput, saidOf, type Body, type Template, type Variable } from "./body";
import { useNames } from "./steps";

export function Runs({ body }: { body: Body }) {
  const { paramFile, caseFile, design, optimizer, monteCarloIterations: draws } = body;
  const names = useNames([paramFile?.id ?? "", caseFile?.id ?? ""].filter(Boolean));
  const variables = body.jobvariables ?? [];
  if (!(paramFile || caseFile || variables.length || design || optimizer)) return null; // templates alone make one run
  const file = (title: string, id: string) => (
    <>
      <dt>{title}</dt>
      <dd>
        <bdi>{names.get(id)?.name ?? id}</bdi>
      </dd>
    </>
  );
  return (
    <Panel title="The study">
      <dl class="facts">
        {paramFile ? file("Table of runs", paramFile.id) : null}
        {caseFile ? file("Table of cases", caseFile.id) : null}
        <Variables title="Variables" all={variables.filter((each) => !isOutput(each))} />
        <Variables title="Outputs" all={variables.filter(isOutput)} />
        {draws ? (
          <>
            <dt>Draws</dt>
            <dd>{number(draws)}</dd>
          </>
        ) : null}
        {design ? (
          <>
            <dt>Design</dt>
            <dd>
              {design.kind}
              {design.count ? `, ${number(design.count)} ${plural(design.count, "run")}` : ""}
              {pairs(design.options)}
            </dd>
          </>
        ) : null}
        {optimizer ? (
          <>
            <dt>Optimizer</dt>
            <dd>
              {optimizer.method}
              {optimizer.budget ? `, at most ${number(optimizer.budget)} ${plural(optimizer.budget, "run")}` : ""}
              {pairs(optimizer.settings)}
            </dd>
          </>
        ) : null}
        {body.includeNominalRun ? (
          <>
            <dt>Besides</dt>
            <dd>a run with the nominal values</dd>
          </>
        ) : null}
      </dl>
    </Panel>
  );
}

function Variables({ title, all }: { title: string; all: Variable[] }) {
  if (!all.length) return null;
  return (
    <>
      <dt>{title}</dt>
      <dd>
        <ul class="plain-list">
          {all.map((each, n) => (
            <li key={n}>
              <bdi class="mono">{each.name || "without a name"}</bdi> <span class="quiet">{saidOf(each)}</span>
            </li>
          ))}
        </ul>
      </dd>
    </>
  );
}

export function Templates({ all }: { all: Template[] }) {
  const names = useNames(all.map((each) => each.templateFile.id));
  if (!all.length) return null;
  return (
    <>
      <dt>Templates</dt>
      <dd>
        <ul class="plain-list">
          {all.map((each) => (
            <li key={each.templateFile.id}>
              <bdi>{names.get(each.templateFile.id)?.name ?? each.templateFile.id}</bdi> as{" "}
              <code>{each.processedFilename}</code>
            </li>
          ))}
        </ul>
      </dd>
    </>
  );
}

const pairs = (settings: Record<string, unknown> | null | undefined): string =>
  Object.entries(settings ?? {})
    .map(([name, value]) => `, ${name} ${typeof value === "object" ? JSON.stringify(value) : String(value)}`)
    .join("");

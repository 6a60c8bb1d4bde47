/** What exactly was run: the definition of a job, to read. */

import { Link } from "wouter-preact";
import { jobPath } from "../../api/jobs";
import { useGet } from "../../api/queries";
import type { Job, Schemas, StoredFile } from "../../api/types";
import { differences } from "../../lib/differences";
import { bytes, number } from "../../lib/format";
import { fileHref, jobHref } from "../../lib/hrefs";
import { json, seen } from "../../lib/pasted";
import { plural } from "../../lib/words";
import { Banner, CopyButton, Panel, Time } from "../../ui/parts";
import { Code, Table } from "../../ui/scroll";

export function Setup({ job }: { job: Job }) {
  return (
    <div class="stack setup">
      <Panel title="Job" tools={<CopyButton text={() => json(job, 2)} label="Copy as JSON" />}>
        <dl class="facts">
          <dt>Name</dt>
          <dd>
            <bdi>{job.name}</bdi>
          </dd>
          <dt>Id</dt>
          <dd class="mono">{job.id}</dd>
          <dt>Owner</dt>
          <dd>
            <bdi>{job.owner}</bdi>
          </dd>
          <dt>Defined</dt>
          <dd>
            <Time at={job.dateInserted} relative />
          </dd>
          {job.description ? (
            <>
              <dt>Description</dt>
              <dd>
                <bdi>{job.description}</bdi>
              </dd>
            </>
          ) : null}
          {job.clonedFrom ? (
            <>
              <dt>Copied from</dt>
              <dd>
                <Link href={jobHref(job.clonedFrom, "setup")}>{job.clonedFrom}</Link>
              </dd>
            </>
          ) : null}
          {job.projectId ? (
            <>
              <dt>Project</dt>
              <dd>{job.projectId}</dd>
            </>
          ) : null}
          {job.isLowPriority ? (
            <>
              <dt>Priority</dt>
              <dd>low</dd>
            </>
          ) : null}
          {job.resourceFilters.length ? (
            <>
              <dt>Outputs</dt>
              <dd>
                {job.resourceFilters
                  .map((rule) => `${rule.include ? "kept" : "left out"}: ${rule.selector}`)
                  .join("; ")}
              </dd>
            </>
          ) : null}
        </dl>
      </Panel>
      {job.clonedFrom ? <Difference job={job} parent={job.clonedFrom} /> : null}
      {job.jobanalyses.map((each, n) => (
        <Software
          key={n}
          analysis={each}
          title={job.jobanalyses.length > 1 ? `Analysis ${n + 1}: ${each.analysis.name}` : each.analysis.name}
        />
      ))}
      {job.jobvariables.length ? <Variables job={job} /> : null}
    </div>
  );
}

function Software({ analysis, title }: { analysis: Schemas["JobAnalysis"]; title: string }) {
  const { hardware } = analysis;
  const environment = Object.entries(analysis.envVars ?? {});
  return (
    <Panel title={title}>
      <dl class="facts">
        <dt>Version</dt>
        <dd>
          {analysis.analysis.versionName} <span class="quiet mono">{analysis.analysis.version}</span>
        </dd>
        <dt>Command</dt>
        <dd>
          <Code label="Command" class="wrap">{analysis.command}</Code>
        </dd>
        <dt>Inputs</dt>
        <dd>
          {analysis.inputFiles.length ? (
            <ul class="plain-list">
              {analysis.inputFiles.map((file) => (
                <li key={file.id}>
                  <Input file={file} /> <span class="quiet">{file.decompress ? "unpacked" : "as it is"}</span>
                </li>
              ))}
            </ul>
          ) : (
            <span class="quiet">none</span>
          )}
        </dd>
        {analysis.templateTasks.length ? (
          <>
            <dt>Templates</dt>
            <dd>
              <ul class="plain-list">
                {analysis.templateTasks.map((task) => (
                  <li key={task.processedFilename}>
                    {task.templateFile ? <Input file={task.templateFile} /> : "a deleted file"} as{" "}
                    <code>{task.processedFilename}</code>
                  </li>
                ))}
              </ul>
            </dd>
          </>
        ) : null}
        <Script title="Before it" file={analysis.preProcessScript} command={analysis.preProcessScriptCommand} />
        <Script title="After it" file={analysis.postProcessScript} command={analysis.postProcessScriptCommand} />
        {environment.length ? (
          <>
            <dt>Environment</dt>
            <dd>
              <Code label="Environment" class="wrap">{environment.map(([name, value]) => `${name}=${value}`).join("\n")}</Code>
            </dd>
          </>
        ) : null}
        <dt>Hardware</dt>
        <dd>
          {number(hardware.coresPerSlot)} {plural(hardware.coresPerSlot, "core")} of {hardware.coreType}
          {hardware.slots > 1 ? `, ${hardware.slots} runs at once` : ""}
          {analysis.useMpi ? ", MPI" : ""}
        </dd>
        <dt>Walltime</dt>
        <dd>{hardware.walltime === null ? "the longest that the site allows" : `${hardware.walltime} h`}</dd>
      </dl>
    </Panel>
  );
}

function Script({ title, file, command }: { title: string; file: StoredFile | null; command: string }) {
  if (!file && !command) return null;
  return (
    <>
      <dt>{title}</dt>
      <dd>
        {file ? <Input file={file} /> : null}
        {command ? <Code label="Command" class="wrap">{command}</Code> : null}
      </dd>
    </>
  );
}

function Input({ file }: { file: StoredFile }) {
  if (file.isDeleted) {
    return (
      <>
        <bdi>{seen(file.name)}</bdi> <span class="quiet">(deleted)</span>
      </>
    );
  }
  return (
    <>
      <a href={fileHref(file.id)} download={file.name}>
        <bdi>{seen(file.name)}</bdi>
      </a>{" "}
      <span class="quiet">{bytes(file.decryptedSize)}</span>
    </>
  );
}

function Variables({ job }: { job: Job }) {
  return (
    <Panel title="Variables">
      <Table label="Variables">
        <thead>
          <tr>
            <th>Name</th>
            <th>Role</th>
            <th>Values</th>
          </tr>
        </thead>
        <tbody>
          {job.jobvariables.map((each) => (
            <tr key={each.name}>
              <td>
                <bdi>{each.name}</bdi>
              </td>
              <td>{each.variableType}</td>
              <td>
                {each.valueGeneratorType} <code>{JSON.stringify(each.valueGeneratorSettings)}</code>
              </td>
            </tr>
          ))}
        </tbody>
      </Table>
    </Panel>
  );
}

/** What is different to the job that it was copied from. */
function Difference({ job, parent }: { job: Job; parent: string }) {
  const other = useGet<Job>(jobPath(parent));
  if (!other.data) return null; // it was deleted, or is not shared: nothing can be said
  const changes = differences(definition(other.data), definition(job));
  if (!changes.length) return <Banner>It is the same as {parent}, which it was copied from.</Banner>;
  return (
    <Panel title={`What is different to ${parent}`}>
      <Table label="Differences">
        <thead>
          <tr>
            <th>Of</th>
            <th>There</th>
            <th>Here</th>
          </tr>
        </thead>
        <tbody>
          {changes.map((each) => (
            <tr key={each.path}>
              <td class="mono">{each.path}</td>
              <td class="mono wrap">{each.before}</td>
              <td class="mono wrap">{each.after}</td>
            </tr>
          ))}
        </tbody>
      </Table>
    </Panel>
  );
}

function definition(job: Job): Record<string, unknown> {
  return {
    name: job.name,
    description: job.description,
    projectId: job.projectId,
    variables: job.jobvariables,
    analyses: job.jobanalyses.map((each) => ({
      analysis: each.analysis.code,
      version: each.analysis.version,
      command: each.command,
      envVars: each.envVars ?? {},
      inputFiles: each.inputFiles.map((file) => file.name),
      templates: each.templateTasks.map((task) => `${task.templateFile?.name} -> ${task.processedFilename}`),
      before: each.preProcessScriptCommand,
      after: each.postProcessScriptCommand,
      coreType: each.hardware.coreType,
      cores: each.hardware.coresPerSlot,
      slots: each.hardware.slots,
      walltime: each.hardware.walltime,
    })),
  };
}

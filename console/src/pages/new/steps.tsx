/** The steps of a new job. Each shows what the server said of its fields, at the field. */

import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "../../api/client";
import { useGet } from "../../api/queries";
import type { Page, Schemas, StoredFile } from "../../api/types";
import { number } from "../../lib/format";
import { markTaken, onUploaded, uploads, type Upload } from "../../lib/uploads";
import { FileText, Plus, Trash2 } from "../../ui/icons";
import { Button, Bytes, Choice, Count, Field, Script, fieldId } from "../../ui/parts";
import { Table, UnseenHead } from "../../ui/scroll";
import { DropZone, UploadList } from "../../ui/uploads";
import {
  GENERATORS,
  analysisAt,
  isDrawn,
  isOutput,
  kindOf,
  saidOf,
  placeOf,
  textOf,
  variablesOf,
  withAnalysis,
  withHardware,
  type Body,
  type FileRef,
  type Named,
  type Template,
  type Variable,
} from "./body";
import { Picker } from "./picker";
import { Project } from "./project";

type StepProps = {
  body: Body;
  at: number; // which of the analyses
  batch: string;
  edit: (to: (body: Body) => Body) => void;
  errors: (field: string) => string[]; // the server's messages at a path
};

// --- inputs ---------------------------------------------------------------------------------------

const MOST_IDS = 200; // of a request

/** Names of files by id, for a body has ids only; null of those that are not there. */
export function useNames(ids: string[]): Map<string, Named | null> {
  const [known, learn] = useState<Map<string, Named | null>>(new Map());
  const asked = useRef(new Set<string>());
  const wanted = ids.filter((id) => id && !asked.current.has(id));
  useEffect(() => {
    const found = new Map<string, Named>(); // what was uploaded here is known
    for (const { file, name, path, size } of uploads.peek())
      if (file) found.set(file, { name, relativePath: path, path: "", decryptedSize: size });
    const more = (some: [string, Named | null][]): void => learn((before) => new Map([...before, ...some]));
    const here = wanted.filter((id) => found.has(id));
    if (here.length) more(here.map((id) => [id, found.get(id)!]));
    const others = wanted.filter((id) => !found.has(id));
    for (const id of wanted) asked.current.add(id);
    const ask = async (): Promise<void> => {
      for (let n = 0; n < others.length; n += MOST_IDS) {
        const some = others.slice(n, n + MOST_IDS);
        const page = await api<Page<StoredFile>>("GET", "files/", { query: { ids: some.join(",") } });
        const files = new Map(page.results.map((each) => [each.id, each]));
        more(some.map((id) => [id, files.get(id) ?? null]));
      }
    };
    ask().catch(() => others.forEach((id) => asked.current.delete(id))); // asked again with the next change
  }, [wanted.join(",")]);
  return known;
}

/**
 * What is uploaded for this page becomes an input as soon as it is there, also while another step is looked at;
 * what arrives while another page is, when one comes back. Once: who takes it out again is not contradicted.
 *
 * isReady: the draft is there; what is put into the body before is overwritten by it.
 */
export function useUploadedInputs({
  at,
  batch,
  edit,
  isReady,
}: Pick<StepProps, "at" | "batch" | "edit"> & { isReady: boolean }): void {
  useEffect(() => {
    if (!isReady) return;
    const take = ({ key, state, file: id, isTaken, batch: itsBatch }: Upload): void => {
      if (itsBatch !== batch || state !== "done" || !id || isTaken) return;
      markTaken(key);
      edit((body) => {
        const files = analysisAt(body, at).inputFiles ?? [];
        return files.some((each) => each.id === id)
          ? body
          : withAnalysis(body, at, { inputFiles: [...files, { id, decompress: true }] });
      });
    };
    uploads.value.forEach(take);
    return onUploaded(take);
  }, [at, batch, isReady]);
}

export function Inputs({ body, at, batch, edit, errors }: StepProps) {
  const [isPicking, pick] = useState(false);
  const files = analysisAt(body, at).inputFiles ?? [];
  const names = useNames(files.map((each) => each.id));
  const change = (to: FileRef[]): void => edit((now) => withAnalysis(now, at, { inputFiles: to }));
  const path = `jobanalyses.${at}.inputFiles`;
  return (
    <div class="stack">
      <Field label="Name of the job" name="name" errors={errors("name")}>
        {(props) => <input {...props} class="input" value={body.name ?? ""} onInput={(event) => {
          const name = event.currentTarget.value;
          edit((now) => ({ ...now, name }));
        }} />}
      </Field>
      <Project body={body} edit={edit} errors={errors("projectId")} />
      <DropZone batch={batch} />
      <UploadList batch={batch} />
      <div class="row">
        <Button icon={FileText} onClick={() => pick(true)}>
          Choose from the library
        </Button>
        <Messages id={path} errors={errors(path)} />
      </div>
      {files.length ? (
        <Table label="Inputs of the job">
          <thead>
            <tr>
              <th scope="col">Input</th>
              <th scope="col" class="number">
                Size
              </th>
              <th scope="col">Unpack it</th>
              <UnseenHead>Actions</UnseenHead>
            </tr>
          </thead>
          <tbody>
            {files.map((each, n) => {
              const file = names.get(each.id);
              const name = file ? placeOf(file) : each.id;
              return (
                <tr key={each.id}>
                  <td>
                    {file === null ? (
                      <span class="tone-bad">not found, or not yours: {each.id}</span>
                    ) : (
                      <bdi>{name}</bdi>
                    )}
                    <Messages id={`${path}.${n}`} errors={errors(`${path}.${n}`)} />
                  </td>
                  <td class="number">
                    <Bytes value={file?.decryptedSize} />
                  </td>
                  <td>
                    {/\.(zip|tar|tgz|tbz2?|txz|gz|bz2|xz)$/i.test(name) ? (
                      <input
                        type="checkbox"
                        aria-label={`Unpack ${name}`}
                        checked={each.decompress !== false}
                        onChange={(event) => {
                          const decompress = event.currentTarget.checked;
                          change(files.map((other, m) => (m === n ? { ...other, decompress } : other)));
                        }}
                      />
                    ) : (
                      <span class="faint">-</span>
                    )}
                  </td>
                  <td class="number">
                    <Button
                      small
                      kind="plain"
                      icon={Trash2}
                      label={`Without ${name}`}
                      onClick={() => change(files.filter((_, m) => m !== n))}
                    />
                  </td>
                </tr>
              );
            })}
          </tbody>
        </Table>
      ) : (
        <p class="quiet">No inputs yet. A job may do without.</p>
      )}
      {isPicking ? (
        <Picker
          taken={new Set(files.map((each) => each.id))}
          onClose={() => pick(false)}
          onChoose={(found) => {
            change([...files, ...found.map((file) => ({ id: file.id, decompress: true }))]);
            pick(false);
          }}
        />
      ) : null}
    </div>
  );
}

function Messages({ id, errors }: { id: string; errors: string[] }) {
  return (
    <span id={fieldId(id)} tabIndex={-1} class="field">
      <Said errors={errors} />
    </span>
  );
}

function Said({ errors }: { errors: string[] }) {
  return errors.length ? <span class="error">{errors.join(" ")}</span> : null;
}

/** A script that a draft has from a job or from a program: it can be seen and taken out. */
function ScriptFile({ label, field, at, body, edit, errors }: Omit<StepProps, "batch"> & {
  label: string;
  field: "preProcessScript" | "postProcessScript";
}) {
  const id = analysisAt(body, at)[field]?.id;
  const names = useNames(id ? [id] : []);
  if (!id) return null;
  return (
    <div class="row">
      <span>{label}</span>
      <FileText size={16} class="icon" />
      <bdi>{names.get(id)?.name ?? id}</bdi>
      <Button small onClick={() => edit((now) => withAnalysis(now, at, { [field]: null }))}>
        Without it
      </Button>
      <Messages id={`jobanalyses.${at}.${field}`} errors={errors(`jobanalyses.${at}.${field}`)} />
    </div>
  );
}

// --- software -------------------------------------------------------------------------------------

export function Software({ body, at, edit, errors }: StepProps) {
  const analyses = useGet<Page<Schemas["Analysis"]>>("analyses/", { page_size: 1000 }, { stale: 60_000 });
  const mine = analysisAt(body, at);
  const all = (analyses.data?.results ?? []).toSorted(
    (a, b) => Number(b.installed) - Number(a.installed) || a.name.localeCompare(b.name),
  );
  const chosen = all.find((each) => each.code === mine.analysis?.code);
  const version = chosen?.versions.find((each) => each.versionCode === mine.analysis?.version) ?? chosen?.versions[0];
  const path = `jobanalyses.${at}`;
  const [env, setEnv] = useState(textOf(mine.envVars));
  const { bad } = variablesOf(env);
  const proposals = version
    ? [
        ...new Set(
          [version.stdCommand, version.smpCommand, version.mpiCommand].filter(
            (each) => each && !/^<module>$/.test(each),
          ),
        ),
      ]
    : [];
  return (
    <div class="stack">
      <Choice
        label="Software"
        name={`${path}.analysis.code`}
        errors={errors(`${path}.analysis.code`)}
        hint={chosen && !chosen.installed ? `Not installed here. ${chosen.installHint}` : chosen?.vendorName}
        value={mine.analysis?.code ?? ""}
        set={(code) => {
          const found = all.find((each) => each.code === code);
          const analysis = { code, version: found?.versions[0]?.versionCode ?? null };
          edit((now) => withAnalysis(now, at, { analysis }));
        }}
      >
        <option value="">Choose one</option>
        <optgroup label="Installed here">
          {all
            .filter((each) => each.installed)
            .map((each) => (
              <option key={each.code} value={each.code}>
                {each.name}
              </option>
            ))}
        </optgroup>
        <optgroup label="Not installed">
          {all
            .filter((each) => !each.installed)
            .map((each) => (
              <option key={each.code} value={each.code} disabled={each.code !== mine.analysis?.code}>
                {each.name} - {each.installHint || "not installed"}
              </option>
            ))}
        </optgroup>
      </Choice>
      {chosen ? (
        <Choice
          label="Version"
          name={`${path}.analysis.version`}
          errors={errors(`${path}.analysis.version`)}
          hint={version?.aliasOf ? `Runs on ${version.aliasOf}, which is what is here.` : ""}
          value={mine.analysis?.version ?? version?.versionCode ?? ""}
          set={(code) =>
            edit((now) => withAnalysis(now, at, { analysis: { ...analysisAt(now, at).analysis, version: code } }))
          }
        >
          {chosen.versions.map((each) => (
            <option key={each.versionCode} value={each.versionCode}>
              {each.version}
              {each.aliasOf ? ` (runs on ${each.aliasOf})` : ""}
            </option>
          ))}
        </Choice>
      ) : null}
      <Script
        label="Command"
        name={`${path}.command`}
        errors={errors(`${path}.command`)}
        hint="A line or a script for the shell, in the folder of the inputs"
        value={mine.command ?? ""}
        set={(command) => edit((now) => withAnalysis(now, at, { command }))}
      />
      {proposals.length ? (
        <div class="row">
          <span class="quiet">As its catalogue has it:</span>
          {proposals.map((each) => (
            <button
              key={each}
              type="button"
              class="chip mono"
              onClick={() =>
                edit((now) => withAnalysis(now, at, { command: each, useMpi: each === version?.mpiCommand }))
              }
            >
              {each}
            </button>
          ))}
        </div>
      ) : null}
      <Script
        label="Environment variables"
        name={`${path}.envVars`}
        errors={[...errors(`${path}.envVars`), ...(bad.length ? [`No NAME=value: ${bad.join(", ")}`] : [])]}
        hint="A line NAME=value for each"
        rows={2}
        value={env}
        set={(text) => {
          setEnv(text);
          const { envVars } = variablesOf(text);
          edit((now) => withAnalysis(now, at, { envVars }));
        }}
      />
      <ScriptFile label="Script before the run" field="preProcessScript" {...{ at, body, edit, errors }} />
    </div>
  );
}

// --- hardware -------------------------------------------------------------------------------------

export function Hardware({ body, at, edit, errors, isStudy }: StepProps & { isStudy: boolean }) {
  const types = useGet<Page<Schemas["CoreType"]>>("coretypes/", { page_size: 1000 }, { stale: 60_000 });
  const hardware = analysisAt(body, at).hardware ?? {};
  const path = `jobanalyses.${at}.hardware`;
  const all = types.data?.results ?? [];
  const chosen = all.find((each) => each.code === hardware.coreType);
  return (
    <div class="stack">
      <Choice
        label="Core type"
        name={`${path}.coreType`}
        errors={errors(`${path}.coreType`)}
        hint={chosen ? `${chosen.description} ${number(chosen.price)} for a core and hour` : ""}
        value={hardware.coreType ?? ""}
        set={(coreType) => edit((now) => withHardware(now, at, { coreType }))}
      >
        <option value="">Choose one</option>
        {[true, false].map((isPrimary) => (
          <optgroup key={String(isPrimary)} label={isPrimary ? "Usual" : "Others, as scripts name them"}>
            {all
              .filter((each) => each.isPrimary === isPrimary)
              .map((each) => (
                <option key={each.code} value={each.code}>
                  {each.name}
                </option>
              ))}
          </optgroup>
        ))}
      </Choice>
      <Count
        label={isStudy ? "Cores for each run" : "Cores"}
        name={`${path}.coresPerSlot`}
        errors={errors(`${path}.coresPerSlot`)}
        hint={chosen ? `A node has ${chosen.cores.join(", ")}` : ""}
        value={hardware.coresPerSlot}
        set={(coresPerSlot) => edit((now) => withHardware(now, at, { coresPerSlot }))}
      />
      {isStudy || errors(`${path}.slots`).length ? (
        <Count
          label="Runs at once"
          name={`${path}.slots`}
          errors={errors(`${path}.slots`)}
          value={hardware.slots}
          set={(slots) => edit((now) => withHardware(now, at, { slots }))}
        />
      ) : null}
      <Count
        label="Walltime, hours"
        name={`${path}.walltime`}
        errors={errors(`${path}.walltime`)}
        hint="Empty: as long as this server allows"
        value={hardware.walltime}
        set={(walltime) => edit((now) => withHardware(now, at, { walltime: walltime ?? null }))}
      />
      <label class="row">
        <input
          id={fieldId("isLowPriority")}
          type="checkbox"
          aria-invalid={errors("isLowPriority").length ? "true" : undefined}
          checked={body.isLowPriority === true}
          onChange={(event) => {
            const isLowPriority = event.currentTarget.checked;
            edit((now) => ({ ...now, isLowPriority }));
          }}
        />
        Low priority: others go first
        <Said errors={errors("isLowPriority")} />
      </label>
    </div>
  );
}

// --- post-processing ------------------------------------------------------------------------------

export function Post({ body, at, edit, errors }: StepProps) {
  const mine = analysisAt(body, at);
  const path = `jobanalyses.${at}.postProcessScriptCommand`;
  return (
    <div class="stack">
      <Script
        label="Command after the run"
        name={path}
        errors={errors(path)}
        hint="Its last lines of a name, a tab and a value become the outputs of the run: they can be compared, sorted and plotted"
        value={mine.postProcessScriptCommand ?? ""}
        set={(postProcessScriptCommand) => edit((now) => withAnalysis(now, at, { postProcessScriptCommand }))}
      />
      <ScriptFile label="Script after the run" field="postProcessScript" {...{ at, body, edit, errors }} />
    </div>
  );
}

// --- parameters -----------------------------------------------------------------------------------

export function Parameters({ body, at, batch, edit, errors }: StepProps) {
  const [picking, pick] = useState<"table" | "template" | "">("");
  const templates = analysisAt(body, at).templateTasks ?? [];
  const variables = body.jobvariables ?? [];
  const names = useNames([body.paramFile?.id ?? "", ...templates.map((each) => each.templateFile.id)].filter(Boolean));
  const setTemplates = (to: Template[]): void => edit((now) => withAnalysis(now, at, { templateTasks: to }));
  const setVariables = (to: Variable[]): void =>
    edit((now) => ({ ...now, jobvariables: to.map((each, n) => ({ ...each, displayOrder: n })) }));
  const draws = body.monteCarloIterations ?? null;
  const isDrawnFrom = variables.some(isDrawn) && !body.design && !body.optimizer;
  const setting = (variable: Variable, name: string): string => {
    const value = variable.valueGeneratorSettings?.[name];
    return Array.isArray(value) ? value.join(", ") : value === undefined || value === null ? "" : String(value);
  };
  const withSetting = (variable: Variable, name: string, text: string): Variable => ({
    ...variable,
    valueGeneratorSettings: {
      ...variable.valueGeneratorSettings,
      [name]:
        name === "values"
          ? text
              .split(",")
              .map((each) => each.trim())
              .filter(Boolean)
          : text,
    },
  });
  return (
    <div class="stack">
      <section class="stack-small">
        <h2>Table of runs</h2>
        <p class="quiet">A CSV file with a column for each variable and a row for each run.</p>
        <div class="row">
          {body.paramFile ? (
            <>
              <FileText size={16} class="icon" />
              <bdi>{names.get(body.paramFile.id)?.name ?? body.paramFile.id}</bdi>
              <Button small onClick={() => edit((now) => ({ ...now, paramFile: null }))}>
                Without it
              </Button>
            </>
          ) : (
            <Button onClick={() => pick("table")}>Choose a table</Button>
          )}
          <Messages id="paramFile" errors={errors("paramFile")} />
        </div>
        <p class="quiet">Upload tables and templates here; they do not become inputs.</p>
        <DropZone batch={`${batch}-parameters`} />
        <UploadList batch={`${batch}-parameters`} />
      </section>
      <section class="stack-small">
        <h2>Variables</h2>
        {variables.map((variable, n) => {
          const kind = kindOf(variable);
          const fields = GENERATORS[kind]?.settings;
          return (
            <div key={n} class="row new-variable">
              <Field label="Name" name={`jobvariables.${n}.name`} errors={errors(`jobvariables.${n}.name`)}>
                {(props) => (
                  <input
                    {...props}
                    class="input"
                    value={variable.name}
                    onInput={(event) => {
                      const name = event.currentTarget.value;
                      setVariables(variables.map((each, m) => (m === n ? { ...each, name } : each)));
                    }}
                  />
                )}
              </Field>
              {isOutput(variable) ? (
                <p class="field">{saidOf(variable)}</p>
              ) : (
                <Choice
                  label="Values"
                  name={`jobvariables.${n}.valueGeneratorType`}
                  errors={errors(`jobvariables.${n}.valueGeneratorType`)}
                  value={kind}
                  set={(valueGeneratorType) =>
                    setVariables(
                      variables.map((each, m) =>
                        m === n ? { ...each, valueGeneratorType, valueGeneratorSettings: {} } : each,
                      ),
                    )
                  }
                >
                  {kind && !body.paramFile && !body.caseFile ? null : <option value="">a column of the table</option>}
                  {Object.entries(GENERATORS).map(([name, { label }]) => (
                    <option key={name} value={name}>
                      {label}
                    </option>
                  ))}
                  {fields || !kind ? null : <option value={kind}>{kind}</option>}
                </Choice>
              )}
              {(fields ?? []).map(([name, label]) => (
                <Field
                  key={name}
                  label={label}
                  name={`jobvariables.${n}.valueGeneratorSettings.${name}`}
                  errors={errors(`jobvariables.${n}.valueGeneratorSettings.${name}`)}
                >
                  {(props) => (
                    <input
                      {...props}
                      class="input"
                      value={setting(variable, name)}
                      onInput={(event) => {
                        const text = event.currentTarget.value;
                        setVariables(variables.map((each, m) => (m === n ? withSetting(each, name, text) : each)));
                      }}
                    />
                  )}
                </Field>
              ))}
              <Button
                kind="plain"
                icon={Trash2}
                label={`Without ${variable.name || "this variable"}`}
                onClick={() => setVariables(variables.filter((_, m) => m !== n))}
              />
              <Messages id={`jobvariables.${n}`} errors={errors(`jobvariables.${n}`)} />
            </div>
          );
        })}
        <div class="row">
          <Button
            icon={Plus}
            onClick={() =>
              setVariables([
                ...variables,
                { name: "", variableType: "Param", valueGeneratorType: "FixedRange", valueGeneratorSettings: {} },
              ])
            }
          >
            Add a variable
          </Button>
          <Messages id="jobvariables" errors={errors("jobvariables")} />
        </div>
        {draws !== null || errors("monteCarloIterations").length || isDrawnFrom ? (
          <Count
            label="Number of draws"
            name="monteCarloIterations"
            errors={errors("monteCarloIterations")}
            hint="So many runs, each with values of its own of what is drawn; at each point of the ranges and tables, where there are any"
            value={draws}
            set={(monteCarloIterations) => edit((now) => ({ ...now, monteCarloIterations: monteCarloIterations ?? null }))}
          />
        ) : null}
      </section>
      <section class="stack-small">
        <h2>Templates</h2>
        <p class="quiet">
          Files in which <code>{"${name}"}</code> becomes the value of each run.
        </p>
        {templates.map((template, n) => (
          <div key={template.templateFile.id} class="row">
            <bdi>{names.get(template.templateFile.id)?.name ?? template.templateFile.id}</bdi>
            <Field
              label="Becomes"
              name={`jobanalyses.${at}.templateTasks.${n}.processedFilename`}
              errors={errors(`jobanalyses.${at}.templateTasks.${n}.processedFilename`)}
            >
              {(props) => (
                <input
                  {...props}
                  class="input mono"
                  value={template.processedFilename}
                  onInput={(event) => {
                    const processedFilename = event.currentTarget.value;
                    setTemplates(templates.map((each, m) => (m === n ? { ...each, processedFilename } : each)));
                  }}
                />
              )}
            </Field>
            <Button
              kind="plain"
              icon={Trash2}
              label="Without this template"
              onClick={() => setTemplates(templates.filter((_, m) => m !== n))}
            />
            <Messages
              id={`jobanalyses.${at}.templateTasks.${n}`}
              errors={errors(`jobanalyses.${at}.templateTasks.${n}`)}
            />
          </div>
        ))}
        <div class="row">
          <Button icon={Plus} onClick={() => pick("template")}>
            Add a template
          </Button>
        </div>
      </section>
      {picking ? (
        <Picker
          isSingle={picking === "table"}
          taken={new Set(picking === "table" ? [] : templates.map((each) => each.templateFile.id))}
          onClose={() => pick("")}
          onChoose={(found) => {
            if (picking === "table") edit((now) => ({ ...now, paramFile: { id: found[0]!.id } }));
            else
              setTemplates([
                ...templates,
                ...found.map((file) => ({
                  templateFile: { id: file.id },
                  processedFilename: placeOf(file).replace(/\.(template|tpl|tmpl)$/, ""),
                })),
              ]);
            pick("");
          }}
        />
      ) : null}
    </div>
  );
}

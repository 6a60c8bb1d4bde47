/** The body of a job while it is filled in: as it is sent, and how one place of it is changed. */

import type { StoredFile } from "../../api/types";

/** What the form shows of a file. */
export type Named = Pick<StoredFile, "name" | "relativePath" | "path" | "decryptedSize">;
export type FileRef = { id: string; decompress?: boolean };
export type Template = { templateFile: { id: string }; processedFilename: string };
export type Variable = {
  name: string;
  variableType?: string;
  valueGeneratorType?: string | null;
  valueGeneratorSettings?: Record<string, unknown> | null;
  displayOrder?: number;
};
export type JobAnalysis = {
  analysis?: { code?: string; version?: string | null };
  command?: string;
  hardware?: { coreType?: string; coresPerSlot?: number; slots?: number; walltime?: number | null };
  inputFiles?: FileRef[];
  envVars?: Record<string, string>;
  useMpi?: boolean;
  postProcessScript?: { id: string } | null;
  postProcessScriptCommand?: string;
  preProcessScript?: { id: string } | null;
  preProcessScriptCommand?: string;
  templateTasks?: Template[];
  [kept: string]: unknown;
};
export type Body = {
  name?: string;
  jobanalyses?: JobAnalysis[];
  isLowPriority?: boolean;
  projectId?: string | null;
  paramFile?: { id: string } | null;
  caseFile?: { id: string } | null;
  jobvariables?: Variable[];
  monteCarloIterations?: number | null;
  includeNominalRun?: boolean;
  design?: { kind?: string; count?: number | null; options?: Record<string, unknown> | null } | null;
  optimizer?: { method?: string; budget?: number; settings?: Record<string, unknown> | null } | null;
  seed?: number | null;
  tags?: string[];
  [kept: string]: unknown;
};

export type Step = "inputs" | "parameters" | "software" | "hardware" | "post" | "review";

export const EMPTY: Body = {
  name: "",
  jobanalyses: [
    {
      analysis: { code: "", version: null },
      command: "",
      hardware: { coreType: "", coresPerSlot: 1, slots: 1, walltime: null },
      inputFiles: [],
    },
  ],
};

export const isStudy = (body: Body): boolean =>
  Boolean(
    body.paramFile ||
    body.caseFile ||
    body.jobvariables?.length ||
    body.design ||
    body.optimizer ||
    body.jobanalyses?.some((each) => each.templateTasks?.length),
  );

export function analysisAt(body: Body, at: number): JobAnalysis {
  return body.jobanalyses?.[at] ?? {};
}

/** The body with one analysis changed; nothing else of it is touched. */
export function withAnalysis(body: Body, at: number, change: Partial<JobAnalysis>): Body {
  const analyses = body.jobanalyses?.length ? body.jobanalyses : [{}];
  return { ...body, jobanalyses: analyses.map((each, n) => (n === at ? { ...each, ...change } : each)) };
}

export function withHardware(body: Body, at: number, change: Partial<NonNullable<JobAnalysis["hardware"]>>): Body {
  return withAnalysis(body, at, { hardware: { ...analysisAt(body, at).hardware, ...change } });
}

/** Without what makes it a study. */
export function single(body: Body): Body {
  const {
    paramFile: _table,
    caseFile: _cases,
    jobvariables: _variables,
    monteCarloIterations: _draws,
    design: _design,
    optimizer: _optimizer,
    ...rest
  } = body;
  return {
    ...rest,
    jobanalyses: (body.jobanalyses ?? []).map((each) => ({
      ...each,
      templateTasks: [],
      hardware: { ...each.hardware, slots: 1 },
    })),
  };
}

/** How values come about: what it is called, and its settings with their labels. */
export const GENERATORS: Record<string, { label: string; settings: [string, string][] }> = {
  FixedRange: { label: "from, to, step", settings: [["minvalue", "From"], ["maxvalue", "To"], ["increment", "Step"]] },
  Linspace: { label: "from, to, count", settings: [["minvalue", "From"], ["maxvalue", "To"], ["count", "Count"]] },
  List: { label: "a list of values", settings: [["values", "Values, with commas"]] },
  Uniform: { label: "drawn evenly", settings: [["minvalue", "From"], ["maxvalue", "To"]] },
  Normal: { label: "drawn normally", settings: [["mean", "Mean"], ["standardDeviation", "Standard deviation"]] },
};
const LISTED = /^(fixed.?range|linspace|list)$/i; // kinds that nothing is drawn from
const OUTPUTS = new Set(["Output", "Constraint", "Objective"]);

/** "" where its values come from a table, or from the runs. */
export const kindOf = ({ valueGeneratorType: kind, valueGeneratorSettings: settings }: Variable): string =>
  kind || (settings?.["values"] ? "List" : "");

export const isOutput = (variable: Variable): boolean => OUTPUTS.has(variable.variableType ?? "");

export const isDrawn = (variable: Variable): boolean =>
  !isOutput(variable) && kindOf(variable) !== "" && !LISTED.test(kindOf(variable));

/** A variable in words: "from 1, to 3, step 1"; "drawn evenly: from 0, to 1"; "Objective: minimize". */
export function saidOf(variable: Variable): string {
  const kind = kindOf(variable);
  const settings = variable.valueGeneratorSettings ?? {};
  const text = (value: unknown): string => (Array.isArray(value) ? value.join(", ") : String(value));
  if (kind === "List") return text(settings["values"] ?? "");
  const labels = new Map(GENERATORS[kind]?.settings);
  const all = Object.entries(settings)
    .filter(([, value]) => value !== null && value !== "")
    .map(([name, value]) =>
      name === "direction" ? text(value) : `${labels.get(name)?.toLowerCase() ?? name} ${text(value)}`,
    )
    .join(", ");
  const first = isOutput(variable)
    ? variable.variableType!
    : !kind
      ? "a column of the table"
      : isDrawn(variable)
        ? (GENERATORS[kind]?.label ?? kind)
        : "";
  return [first, all].filter(Boolean).join(": ");
}

/** The fields of the form, those that are in another one first. */
const FIELDS = [
  /^(name|projectId|isLowPriority|monteCarloIterations|paramFile)\b/,
  /^(jobvariables\.\d+\.name)\b/,
  /^(jobvariables\.\d+\.valueGeneratorType)\b/,
  /^(jobvariables\.\d+\.valueGeneratorSettings\.(minvalue|maxvalue|increment|count|values|mean|standardDeviation))\b/,
  /^(jobvariables(\.\d+)?)\b/,
  /^(jobanalyses\.\d+\.inputFiles(\.\d+)?)\b/,
  /^(jobanalyses\.\d+\.templateTasks\.\d+(\.processedFilename)?)\b/,
  /^(jobanalyses\.\d+\.analysis\.(code|version))\b/,
  /^(jobanalyses\.\d+\.hardware\.(coreType|coresPerSlot|slots|walltime))\b/,
  /^(jobanalyses\.\d+\.(command|envVars|preProcessScript|postProcessScript|postProcessScriptCommand))\b/,
];

/** The field of the form at which something is said of a field of the body; "" where there is none. */
export function formField(field: string): string {
  if (/^jobanalyses\.\d+\.analysis$/.test(field)) return `${field}.code`;
  return FIELDS.map((pattern) => pattern.exec(field)?.[1]).find(Boolean) ?? "";
}

/** Where a file lies in a run: an upload in its folder, what another job left by its name. */
export const placeOf = (file: Named): string =>
  file.path.includes("/output/job_") ? file.name : file.relativePath;

/** Lines NAME=value, and back. Lines without "=" are kept to be seen and told about. */
export function variablesOf(text: string): { envVars: Record<string, string>; bad: string[] } {
  const envVars: Record<string, string> = {};
  const bad: string[] = [];
  for (const line of text.split("\n")) {
    if (!line.trim()) continue;
    const at = line.indexOf("=");
    if (at < 1) bad.push(line);
    else envVars[line.slice(0, at).trim()] = line.slice(at + 1);
  }
  return { envVars, bad };
}

export const textOf = (envVars: Record<string, string> | undefined): string =>
  Object.entries(envVars ?? {})
    .map(([name, value]) => `${name}=${value}`)
    .join("\n");

import { describe, expect, it, vi } from "vitest";
import type { StoredFile } from "../src/api/types";
import { EMPTY, formField, isDrawn, isStudy, placeOf, saidOf, single, textOf, variablesOf, withAnalysis, withHardware, type Variable } from "../src/pages/new/body";

it("a change touches one place, and what the form does not know stays", () => {
  const body = { name: "a", jobanalyses: [{ command: "x", flags: { igCv: true } }, { command: "y", hardware: { coreType: "emerald", slots: 3 } }], customFields: { a: 1 } };
  expect(withHardware(withAnalysis(body, 0, { command: "z" }), 1, { slots: 4 })).toEqual({
    name: "a",
    jobanalyses: [{ command: "z", flags: { igCv: true } }, { command: "y", hardware: { coreType: "emerald", slots: 4 } }],
    customFields: { a: 1 },
  });
  expect(withAnalysis({}, 0, { command: "z" }).jobanalyses).toEqual([{ command: "z" }]);
  expect(body.jobanalyses[0]!.command).toBe("x");
});

it("a study becomes a basic job", () => {
  const study = { ...withAnalysis(EMPTY, 0, { templateTasks: [{ templateFile: { id: "f" }, processedFilename: "a" }] }), paramFile: { id: "t" }, jobvariables: [{ name: "x" }], monteCarloIterations: 5, optimizer: { method: "gp" } };
  expect(isStudy(study)).toBe(true);
  expect(isStudy(single(study))).toBe(false);
  expect(single(study).monteCarloIterations).toBeUndefined();
  expect(isStudy({ caseFile: { id: "c" } })).toBe(true);
  expect(isStudy(EMPTY)).toBe(false);
});

it("environment variables go there and back", () => {
  const { envVars, bad } = variablesOf("A=1\n\nB=x=y z\nnothing\n=v");
  expect(envVars).toEqual({ A: "1", B: "x=y z" });
  expect(bad).toEqual(["nothing", "=v"]);
  expect(textOf(envVars)).toBe("A=1\nB=x=y z");
});

describe("a variable", () => {
  const of = (kind: string | null, settings: Record<string, unknown> = {}, variableType = "Param"): Variable => ({ name: "x", variableType, valueGeneratorType: kind, valueGeneratorSettings: settings });

  it("is drawn where its kind is a distribution, as the API spells them", () => {
    const drawn = ["Uniform", "Normal", "LogNormal", "Weibull", "uniform"].map((kind) => isDrawn(of(kind)));
    expect(drawn).toEqual([true, true, true, true, true]);
    expect(["FixedRange", "fixed_range", "Linspace", "List", "", null].map((kind) => isDrawn(of(kind)))).toEqual([false, false, false, false, false, false]);
    expect(isDrawn(of("", { direction: "minimize" }, "Objective"))).toBe(false);
  });

  it("is told in words", () => {
    expect(saidOf(of("FixedRange", { minvalue: "1", maxvalue: 3, increment: 1 }))).toBe("from 1, to 3, step 1");
    expect(saidOf(of("Normal", { mean: 0, standardDeviation: 2 }))).toBe("drawn normally: mean 0, standard deviation 2");
    expect(saidOf(of("Weibull", { shape: 2, scale: 1 }))).toBe("Weibull: shape 2, scale 1");
    expect(saidOf(of("", { values: [1, 2] }))).toBe("1, 2");
    expect(saidOf(of(""))).toBe("a column of the table");
    expect(saidOf(of("", { direction: "minimize" }, "Objective"))).toBe("Objective: minimize");
  });
});

it("an upload lies in its folder, what a job left lies by its name", () => {
  const file = { name: "U", relativePath: "case/0/U", path: "user/user_Kmzwq/U-5b1c0f2e" } as StoredFile;
  expect(placeOf(file)).toBe("case/0/U");
  expect(placeOf({ ...file, path: "user/user_Kmzwq/output/job_hTrNa/run1/case/0/U" })).toBe("U");
});

it("what is said of something below a field is said at the field", () => {
  const places = {
    "jobanalyses.0.envVars.A.B C": "jobanalyses.0.envVars",
    "jobanalyses.1.analysis": "jobanalyses.1.analysis.code",
    "jobanalyses.1.postProcessScript.id": "jobanalyses.1.postProcessScript",
    "jobanalyses.1.postProcessScriptCommand": "jobanalyses.1.postProcessScriptCommand",
    "jobanalyses.0.templateTasks.12.templateFile.id": "jobanalyses.0.templateTasks.12",
    "jobanalyses.0.templateTasks.12.processedFilename": "jobanalyses.0.templateTasks.12.processedFilename",
    "jobanalyses.0.inputFiles.3.id": "jobanalyses.0.inputFiles.3",
    "jobvariables.1.valueGeneratorSettings.values.2": "jobvariables.1.valueGeneratorSettings.values",
    "jobvariables.1.valueGeneratorSettings.relative": "jobvariables.1",
    "paramFile.id": "paramFile",
    "tags": "",
    "projectId": "projectId",
    "names": "",
    "jobanalyses.0.flags": "",
  };
  for (const [field, place] of Object.entries(places)) expect(formField(field), field).toBe(place);
});

it("a job is not submitted without files that are meant for it", async () => {
  vi.stubGlobal("document", { baseURI: "http://127.0.0.1/" });
  const { whatIsMissing } = await import("../src/lib/uploads");
  const said = (...states: ("waiting" | "sending" | "done" | "failed" | "paused")[]): string =>
    whatIsMissing(states.map((state) => ({ state })));
  expect(said("done", "done")).toBe("");
  expect(said("done", "sending", "waiting")).toBe("2 uploads under way.");
  expect(said("failed", "paused")).toBe("1 upload failed: try again or take it off the list.");
  expect(said("paused", "paused")).toBe("2 uploads paused: go on or take them off the list.");
});

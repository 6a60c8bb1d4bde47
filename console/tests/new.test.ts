import { expect, it } from "vitest";
import { EMPTY, isStudy, single, textOf, variablesOf, withAnalysis, withHardware } from "../src/pages/new/body";

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
  const study = { ...withAnalysis(EMPTY, 0, { templateTasks: [{ templateFile: { id: "f" }, processedFilename: "a" }] }), paramFile: { id: "t" }, jobvariables: [{ name: "x" }], optimizer: { method: "gp" } };
  expect(isStudy(study)).toBe(true);
  expect(isStudy(single(study))).toBe(false);
  expect(isStudy(EMPTY)).toBe(false);
});

it("environment variables go there and back", () => {
  const { envVars, bad } = variablesOf("A=1\n\nB=x=y z\nnothing\n=v");
  expect(envVars).toEqual({ A: "1", B: "x=y z" });
  expect(bad).toEqual(["nothing", "=v"]);
  expect(textOf(envVars)).toBe("A=1\nB=x=y z");
});

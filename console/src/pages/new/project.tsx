/** What a job is booked on: shown where the site has projects, or asks for one. */

import { useGet } from "../../api/queries";
import type { Page, Schemas } from "../../api/types";
import { Choice, Panel } from "../../ui/parts";
import type { Body } from "./body";

const MOST = 2000; // of a page

const useProjects = (): Schemas["Project"][] =>
  useGet<Page<Schemas["Project"]>>("users/me/projects/", { page_size: MOST }).data?.results ?? [];

/** A program may have named it by the organisation's own id, or by its name. */
const projectOf = (projects: Schemas["Project"][], named: string): Schemas["Project"] | undefined =>
  projects.find(({ id }) => id === named) ??
  projects.find(({ externalId, name }) => named && (externalId === named || name === named));

type ProjectProps = { body: Body; edit: (to: (body: Body) => Body) => void; errors: string[] };

export function Project({ body, edit, errors }: ProjectProps) {
  const projects = useProjects();
  const named = body.projectId ?? "";
  if (!projects.length && !named && !errors.length) return null;
  const chosen = projectOf(projects, named);
  return (
    <Choice
      label="Project"
      name="projectId"
      errors={errors}
      value={chosen?.id ?? named}
      set={(to) => edit((now) => ({ ...now, projectId: to || null }))}
    >
      <option value="">none</option>
      {named && !chosen ? <option value={named}>{named}</option> : null}
      {projects.map(({ id, name, externalId }) => (
        <option key={id} value={id}>
          {externalId ? `${name} (${externalId})` : name}
        </option>
      ))}
    </Choice>
  );
}

/** The same in the review. */
export function BookedOn({ body }: { body: Body }) {
  const projects = useProjects();
  const named = body.projectId ?? "";
  if (!named) return null;
  return (
    <Panel title="Booked on">
      <bdi>{projectOf(projects, named)?.name ?? named}</bdi>
    </Panel>
  );
}

/** A look into a file, whatever is in it: never as a page of its own, only as text, a table or a picture. */

import { Link } from "wouter-preact";
import { address } from "../../api/client";
import { useGet } from "../../api/queries";
import type { Schemas } from "../../api/types";
import { bytes, grouped, number } from "../../lib/format";
import { seen } from "../../lib/pasted";
import { baseName } from "../../lib/words";
import { Download, FileText, X } from "../../ui/icons";
import { Button, Bytes, Failure, Skeleton } from "../../ui/parts";
import { Code, Table } from "../../ui/scroll";
import { contentHref, logHref } from "./hrefs";

type Peek = Schemas["Preview"];

type Props = { job: string; run: string; path: string; file: string; onClose: () => void };

export function Preview({ job, run, path, file, onClose }: Props) {
  const found = useGet<Peek>(`${path}preview/`, { path: file, rows: 200 });
  const peek = found.data;
  const name = baseName(file);
  return (
    <section class="panel preview" aria-label={`Preview of ${seen(name)}`}>
      <div class="panel-head">
        <h2 class="grow" title={seen(file)}>
          <bdi>{seen(name)}</bdi>
        </h2>
        {peek?.text ? (
          <Link class="button small" href={logHref(job, run, file)}>
            <FileText size={16} class="icon" />
            All of it
          </Link>
        ) : null}
        {peek?.isLive ? (
          <a class="button small" href={contentHref(job, run, file, null)} download={name}>
            <Download size={16} class="icon" />
            Download
          </a>
        ) : null}
        <Button small kind="plain" icon={X} label="Close the preview" onClick={onClose} />
      </div>
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- what scrolls takes the focus */}
      <div class="panel-body" tabIndex={0} role="region" aria-label={`Content of ${name}`}>
        {found.error ? (
          <Failure error={found.error} what="This file" again={() => void found.refetch()} />
        ) : !peek ? (
          <Skeleton />
        ) : (
          <Shown peek={peek} path={path} />
        )}
      </div>
    </section>
  );
}

function Shown({ peek, path }: { peek: Peek; path: string }) {
  const { text, table, image, mesh, archive } = peek;
  return (
    <>
      <p class="quiet">
        {peek.kind}, <Bytes value={peek.bytes} />
        {peek.isLive ? ", it may still change" : ""}
        {peek.note ? `. ${peek.note}` : ""}
      </p>
      {text ? (
        <>
          <Code label="Beginning">{text.head}</Code>
          {text.tail ? (
            <>
              <p class="quiet">{bytes(text.tailStart - text.headEnd)} are left out here.</p>
              <Code label="End">{text.tail}</Code>
            </>
          ) : null}
        </>
      ) : null}
      {table ? <Values table={table} /> : null}
      {image?.url ? (
        <img
          src={address(`${path}image/`, { path: peek.path })}
          width={image.width}
          height={image.height}
          alt={peek.name}
        />
      ) : null}
      {image ? (
        <p class="quiet">
          {grouped(image.width)} × {grouped(image.height)} pixels, {image.mediaType}
        </p>
      ) : null}
      {mesh ? <Mesh mesh={mesh} /> : null}
      {archive ? (
        <>
          <Table label="Entries">
            <thead>
              <tr>
                <th>Name</th>
                <th class="number">Size</th>
              </tr>
            </thead>
            <tbody>
              {archive.entries.map((entry, n) => (
                <tr key={n}>
                  <td>
                    <bdi>{seen(entry.name)}</bdi>
                  </td>
                  <td class="number">{entry.isFolder ? "" : bytes(entry.bytes)}</td>
                </tr>
              ))}
            </tbody>
          </Table>
          <p class="quiet">
            {grouped(archive.entries.length)} of {grouped(archive.count)} entries
          </p>
        </>
      ) : null}
      {!text && !table && !image && !mesh && !archive && !peek.note ? (
        <p class="quiet">There is nothing to show of such a file. Download it to open it.</p>
      ) : null}
    </>
  );
}

const isNumber = (text: string | undefined): boolean => Boolean(text) && Number.isFinite(Number(text));

function Values({ table }: { table: NonNullable<Peek["table"]> }) {
  const left = table.columnCount - table.columns.length;
  return (
    <>
      <Table label="Values">
        <thead>
          <tr>
            {table.columns.map((name, n) => (
              <th key={n} class={isNumber(table.rows[0]?.[n]) ? "number" : ""}>
                <bdi>{name}</bdi>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {table.rows.map((row, n) => (
            <tr key={n}>
              {row.map((value, k) => (
                <td key={k} class={isNumber(value) ? "number mono" : ""}>
                  <bdi>{value}</bdi>
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </Table>
      <p class="quiet">
        First {grouped(table.rows.length)} {table.total === null ? "rows" : `of ${grouped(table.total)} rows`}
        {left > 0 ? `, ${grouped(left)} more columns` : ""}
      </p>
    </>
  );
}

function Mesh({ mesh }: { mesh: NonNullable<Peek["mesh"]> }) {
  const vector = (values: number[]): string => values.map((value) => number(value)).join(", ");
  return (
    <>
      <dl class="facts">
        <dt>Format</dt>
        <dd>{mesh.format}</dd>
        {mesh.title ? (
          <>
            <dt>Title</dt>
            <dd>
              <bdi>{mesh.title}</bdi>
            </dd>
          </>
        ) : null}
        <dt>Points</dt>
        <dd>{number(mesh.points)}</dd>
        <dt>Cells</dt>
        <dd>{number(mesh.cells)}</dd>
        {mesh.bounds ? (
          <>
            <dt>From</dt>
            <dd class="mono">{vector(mesh.bounds.min)}</dd>
            <dt>To</dt>
            <dd class="mono">{vector(mesh.bounds.max)}</dd>
          </>
        ) : null}
      </dl>
      {mesh.fields.length ? (
        <Table label="Fields of the mesh">
          <thead>
            <tr>
              <th>Field</th>
              <th>On</th>
              <th class="number">Components</th>
              <th class="number">From</th>
              <th class="number">To</th>
            </tr>
          </thead>
          <tbody>
            {mesh.fields.map((field) => (
              <tr key={`${field.on} ${field.name}`}>
                <td>
                  <bdi>{field.name}</bdi>
                </td>
                <td>{field.on}</td>
                <td class="number">{number(field.components)}</td>
                <td class="number mono">{number(field.range?.[0])}</td>
                <td class="number mono">{number(field.range?.[1])}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      ) : null}
      {mesh.isPartial ? <p class="quiet">Only its beginning was read.</p> : null}
    </>
  );
}

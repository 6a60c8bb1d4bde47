/** The studies, newest first: how many of their runs are done. */

import { useEffect } from "preact/hooks";
import { Link } from "wouter-preact";
import { part } from "../api/client";
import { changed, useGet } from "../api/queries";
import type { JobRow, RowsPage } from "../api/types";
import { gathered } from "../lib/events";
import { jobHref } from "../lib/hrefs";
import { usePlace } from "../lib/query";
import { farOf, reasonOf } from "../lib/studies";
import { Button, Empty, Failure, Panel, Progress, Skeleton, Time } from "../ui/parts";
import { Table } from "../ui/scroll";
import { useCrumbs } from "../ui/shell";
import { State } from "../ui/state";
import "./study/study.css";

const GATHER_MS = 1_000;
const EVENTS = new Set(["study", "job", "reset"]);

export default function Studies() {
  useCrumbs({ label: "Studies" });
  const [place, go] = usePlace();
  const rows = useGet<RowsPage>("jobs/rows/", { kind: "study", cursor: place["cursor"], limit: 50 }, { keep: true });
  useEffect(() => gathered(GATHER_MS, (name) => EVENTS.has(name), () => changed("jobs/rows/")), []);
  const found = rows.data?.rows ?? [];
  return (
    <div class="page stack">
      <div class="row spread">
        <h1>Studies</h1>
        <Link class="button" href="/jobs/new?step=parameters&study=1">
          New study
        </Link>
      </div>
      {rows.error ? <Failure error={rows.error} what="The studies" again={() => void rows.refetch()} /> : null}
      {!rows.data && !rows.error ? <Skeleton /> : null}
      {rows.data && !found.length ? (
        <Empty title="No studies yet">
          <p>
            A study runs the same case at many points: from a table, over ranges, or where an optimizer wants to look.
          </p>
        </Empty>
      ) : null}
      {found.length ? (
        <Panel>
          <Table label="Studies" class="studies">
            <thead>
              <tr>
                <th scope="col">State</th>
                <th scope="col">Name</th>
                <th scope="col">Software</th>
                <th scope="col">Progress</th>
                <th scope="col">Made</th>
              </tr>
            </thead>
            <tbody>
              {found.map((row) => (
                <Row key={row.id} row={row} />
              ))}
            </tbody>
          </Table>
        </Panel>
      ) : null}
      {rows.data?.next || rows.data?.previous ? (
        <nav class="row" aria-label="Pages">
          <Button small disabled={!rows.data.previous} onClick={() => go({ cursor: rows.data!.previous ?? "" })}>
            Newer
          </Button>
          <Button small disabled={!rows.data.next} onClick={() => go({ cursor: rows.data!.next ?? "" })}>
            Older
          </Button>
        </nav>
      ) : null}
    </div>
  );
}

function Row({ row }: { row: JobRow }) {
  const { share, text } = farOf(row);
  const reason = reasonOf(row);
  return (
    <tr>
      <td>
        <State status={row.status} outcome={row.outcome} reason={row.reason} />
      </td>
      <td class="name">
        <Link href={row.status ? `/studies/${part(row.id)}` : jobHref(row.id)}>
          <bdi>{row.name}</bdi>
        </Link>
        {reason ? (
          <div class="reason quiet" title={reason}>
            {reason}
          </div>
        ) : null}
      </td>
      <td>{row.analyses.map((each) => each.name).join(", ")}</td>
      <td class="far">
        <Progress value={share} label={`${row.name}: ${text}`} /> {text || "-"}
      </td>
      <td>
        <Time at={row.insertedAt} />
      </td>
    </tr>
  );
}

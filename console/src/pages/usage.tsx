/** What was used, and what is left of what one may use. */

import { boot } from "../api/boot";
import { part } from "../api/client";
import { useGet } from "../api/queries";
import type { Schemas } from "../api/types";
import { number } from "../lib/format";
import { usePlace } from "../lib/query";
import { Bytes, Failure, Num, Panel, Progress, Skeleton } from "../ui/parts";
import { Table } from "../ui/scroll";
import { useCrumbs } from "../ui/shell";

type Me = Schemas["User"];
type Billing = Schemas["BillingSummary"];

export default function Usage() {
  useCrumbs({ label: "Usage" });
  const me = useGet<Me>("users/me/");
  return (
    <div class="page stack">
      <h1>Usage</h1>
      {me.error ? <Failure error={me.error} what="Your limits" again={() => void me.refetch()} /> : null}
      {me.data ? <Limits me={me.data} /> : me.error ? null : <Skeleton rows={4} />}
      {me.data && boot.value!.rights.isAdmin ? <Month me={me.data} /> : null}
    </div>
  );
}

function Limits({ me }: { me: Me }) {
  const { storageBytes, jobsRunning, jobsQueued, coreHours } = me.limits;
  const share = (used: number, limit: number | null): number | null => (limit ? used / limit : null);
  return (
    <Panel title="What you may use">
      <Table label="What you may use">
        <thead>
          <tr>
            <th scope="col">Of</th>
            <th scope="col" class="number">
              Used
            </th>
            <th scope="col" class="number">
              Allowed
            </th>
            <th scope="col">Share</th>
          </tr>
        </thead>
        <tbody>
          <tr>
            <th scope="row">Storage</th>
            <td class="number">
              <Bytes value={storageBytes.used} />
            </td>
            <td class="number">{storageBytes.limit === null ? "no limit" : <Bytes value={storageBytes.limit} />}</td>
            <td>
              <Progress value={share(storageBytes.used, storageBytes.limit)} label="Storage used" />
            </td>
          </tr>
          <Count name="Jobs that run" of={jobsRunning} />
          <Count name="Jobs in the queue" of={jobsQueued} />
          <tr>
            <th scope="row">Core-hours this month</th>
            <td class="number">
              <Num value={coreHours.used} />
              {coreHours.reserved ? <span class="quiet"> and {number(coreHours.reserved)} set aside</span> : null}
            </td>
            <td class="number">{coreHours.limit === null ? "no limit" : <Num value={coreHours.limit} />}</td>
            <td>
              <Progress value={share(coreHours.used + coreHours.reserved, coreHours.limit)} label="Core-hours used" />
            </td>
          </tr>
        </tbody>
      </Table>
    </Panel>
  );
}

function Count({ name, of }: { name: string; of: { used: number; limit: number | null } }) {
  return (
    <tr>
      <th scope="row">{name}</th>
      <td class="number">{of.used}</td>
      <td class="number">{of.limit ?? "no limit"}</td>
      <td>
        <Progress value={of.limit ? of.used / of.limit : null} label={name} />
      </td>
    </tr>
  );
}

function Month({ me }: { me: Me }) {
  const [place, go] = usePlace();
  const now = new Date();
  const month = /^\d{4}-\d{2}$/.test(place["month"] ?? "")
    ? place["month"]!
    : `${now.getUTCFullYear()}-${String(now.getUTCMonth() + 1).padStart(2, "0")}`;
  const [year, number_] = month.split("-").map(Number) as [number, number];
  const billing = useGet<Billing>(
    `organizations/${part(me.company.code)}/workspaces/${part(me.workspace.id)}/billing/`,
    { startYear: year, startMonth: number_, endYear: year, endMonth: number_ },
    { keep: true },
  );
  const data = billing.data;
  return (
    <Panel
      title="This installation"
      tools={
        <label class="row">
          Month
          <input
            class="input"
            type="month"
            value={month}
            onChange={(event) => go({ month: event.currentTarget.value })}
            style={{ width: "auto" }}
          />
        </label>
      }
    >
      {billing.error ? <Failure error={billing.error} what="The usage" again={() => void billing.refetch()} /> : null}
      {!data && !billing.error ? <Skeleton rows={4} /> : null}
      {data ? (
        <div class="stack">
          <dl class="facts">
            <dt>Members who used it</dt>
            <dd>{data.activeUsers}</dd>
            <dt>Jobs</dt>
            <dd>{data.jobs}</dd>
            <dt>Core-hours</dt>
            <dd>
              <Num value={data.hardwareUsage} />
            </dd>
            <dt>Cost</dt>
            <dd>
              <Num value={data.totalCharge} />
            </dd>
          </dl>
          {data.budgets.length ? (
            <Budgets budgets={data.budgets} />
          ) : (
            <p class="quiet">No member and no project has a budget.</p>
          )}
        </div>
      ) : null}
    </Panel>
  );
}

function Budgets({ budgets }: { budgets: Billing["budgets"] }) {
  return (
    <Table label="Budgets of core-hours">
      <thead>
        <tr>
          <th scope="col">Budget of</th>
          <th scope="col" class="number">
            Used
          </th>
          <th scope="col" class="number">
            Set aside
          </th>
          <th scope="col" class="number">
            Allowed
          </th>
        </tr>
      </thead>
      <tbody>
        {budgets.map((each) => (
          <tr key={`${each.kind}-${each.id}`}>
            <th scope="row">
              {each.name} <span class="quiet">{each.kind}</span>
            </th>
            <td class="number">
              <Num value={each.coreHours.used} />
            </td>
            <td class="number">
              <Num value={each.coreHours.reserved} />
            </td>
            <td class="number">
              {each.coreHours.limit === null ? "no limit" : <Num value={each.coreHours.limit} />}
            </td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}

/** Which page an address shows. Each is loaded when it is first looked at. */

import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Redirect, Route, Router, Switch } from "wouter-preact";
import { QueryClientProvider } from "@tanstack/preact-query";
import { boot } from "./api/boot";
import { prefix } from "./api/client";
import { queries } from "./api/queries";
import { Failure, Skeleton } from "./ui/parts";
import { Shell, useCrumbs } from "./ui/shell";
import { SignIn } from "./ui/signin";

type Props = { params: Record<string, string | undefined> };
type PageType = ComponentType<Props>;

function page(load: () => Promise<{ default: PageType }>): PageType {
  let known: PageType | null = null;
  return function Loaded(props: Props) {
    const [Page, set] = useState<PageType | null>(() => known);
    const [error, fail] = useState<unknown>(null);
    const [tries, again] = useState(0);
    useEffect(() => {
      if (known) return;
      load().then((module) => {
        known = module.default;
        set(() => known);
        fail(null);
      }, fail);
    }, [tries]);
    if (error) return <Failure error={error} what="This page" again={() => again(tries + 1)} />;
    return Page ? <Page {...props} /> : <Skeleton />;
  };
}

const Jobs = page(() => import("./pages/jobs"));
const Job = page(() => import("./pages/job"));
const NewJob = page(() => import("./pages/new"));
const Studies = page(() => import("./pages/studies"));
const Study = page(() => import("./pages/study"));
const LibraryPage = page(() => import("./pages/library"));
const Usage = page(() => import("./pages/usage"));
const SettingsPage = page(() => import("./pages/settings"));
const Welcome = page(() => import("./pages/welcome"));

function NotFound() {
  useCrumbs({ label: "Not found" });
  return (
    <div class="empty">
      <h1>There is no such page</h1>
      <a href={`${prefix}/jobs`}>To the jobs</a>
    </div>
  );
}

export function App({ said }: { said: string }) {
  return (
    <QueryClientProvider client={queries}>
      <Router base={prefix}>
        {boot.value ? (
          <Shell>
            <Switch>
              <Route path="/" component={Home} />
              <Route path="/login" component={Home} />
              <Route path="/welcome" component={Welcome} />
              <Route path="/jobs" component={Jobs} />
              <Route path="/jobs/new" component={NewJob} />
              <Route path="/jobs/:id" component={Job} />
              <Route path="/jobs/:id/:view" component={Job} />
              <Route path="/studies" component={Studies} />
              <Route path="/studies/:id" component={Study} />
              <Route path="/library" component={LibraryPage} />
              <Route path="/usage" component={Usage} />
              <Route path="/settings" component={SettingsPage} />
              <Route path="/settings/:view" component={SettingsPage} />
              <Route component={NotFound} />
            </Switch>
          </Shell>
        ) : null}
        <SignIn said={said} />
      </Router>
    </QueryClientProvider>
  );
}

/** Who has no jobs yet is greeted; the list itself knows. */
function Home() {
  return <Redirect to="/jobs" replace />;
}

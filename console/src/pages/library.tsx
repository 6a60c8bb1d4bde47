/** What was uploaded: to use again, to download, to delete. */

import { useEffect, useState } from "preact/hooks";
import { Link } from "wouter-preact";
import { api, part } from "../api/client";
import { changed, useGet } from "../api/queries";
import type { Page, Schemas, StoredFile } from "../api/types";
import { grouped } from "../lib/format";
import { fileHref } from "../lib/hrefs";
import { usePlace } from "../lib/query";
import { whyNot } from "../lib/rights";
import { onUploaded, uploads } from "../lib/uploads";
import { Confirm } from "../ui/dialog";
import { Download, Plus, Trash2 } from "../ui/icons";
import { Bytes, Button, Empty, Failure, Panel, Skeleton, Time } from "../ui/parts";
import { Table, UnseenHead } from "../ui/scroll";
import { useCrumbs } from "../ui/shell";
import { toast } from "../ui/toasts";
import { DropZone, UploadList } from "../ui/uploads";

const PAGE = 100;
const TYPING_MS = 250;

export default function Library() {
  useCrumbs({ label: "Library" });
  const [place, go] = usePlace();
  const number = Math.max(1, Number(place["page"]) || 1);
  const files = useGet<Page<StoredFile>>(
    "files/",
    { type_id: 1, search: place["q"], page: number, page_size: PAGE },
    { keep: true },
  );
  const [chosen, choose] = useState<ReadonlySet<string>>(new Set());
  const [going, remove] = useState<StoredFile[]>([]);
  useEffect(() => onUploaded(() => changed("files/")), []);
  const rows = files.data?.results ?? [];
  const selected = rows.filter((file) => chosen.has(file.id));
  const last = Math.max(1, Math.ceil((files.data?.count ?? 0) / PAGE));
  return (
    <div class="page stack">
      <h1>Library</h1>
      <DropZone disabled={whyNot()} />
      <UploadList />
      <Interrupted />
      <Panel
        title="Uploaded files"
        tools={<Search text={place["q"] ?? ""} onSearch={(q) => go({ q, page: "" }, { replace: true })} />}
      >
        {files.error ? <Failure error={files.error} what="The files" again={() => void files.refetch()} /> : null}
        {!files.data && !files.error ? <Skeleton /> : null}
        {files.data && !rows.length ? (
          place["q"] ? (
            <Empty title="No file has this in its name">
              <Button onClick={() => go({ q: "", page: "" })}>Clear the search</Button>
            </Empty>
          ) : (
            <Empty title="No files yet">
              <p>What you drop above stays here, to be the input of as many jobs as you like.</p>
            </Empty>
          )
        ) : null}
        {rows.length ? (
          <>
            <div class="row" role="toolbar" aria-label="What is selected">
              <span class="quiet grow" role="status">
                {selected.length ? `${selected.length} selected` : `${grouped(files.data!.count)} files`}
              </span>
              {selected.length ? (
                <Button small kind="danger" icon={Trash2} onClick={() => remove(selected)}>
                  Delete
                </Button>
              ) : null}
            </div>
            <Table label="Uploaded files" style={{ opacity: files.isPlaceholderData ? 0.5 : 1 }}>
              <thead>
                <tr>
                  <th scope="col">
                    <input
                      type="checkbox"
                      aria-label="All on this page"
                      checked={selected.length === rows.length}
                      onChange={(event) =>
                        choose(event.currentTarget.checked ? new Set(rows.map((file) => file.id)) : new Set())
                      }
                    />
                  </th>
                  <th scope="col">Name</th>
                  <th scope="col">Uploaded</th>
                  <th scope="col" class="number">
                    Size
                  </th>
                  <th scope="col">Owner</th>
                  <UnseenHead>Actions</UnseenHead>
                </tr>
              </thead>
              <tbody>
                {rows.map((file) => (
                  <tr key={file.id} aria-selected={chosen.has(file.id) ? "true" : "false"}>
                    <td>
                      <input
                        type="checkbox"
                        aria-label={`Select ${file.name}`}
                        checked={chosen.has(file.id)}
                        onChange={() =>
                          choose(
                            new Set(
                              chosen.has(file.id) ? [...chosen].filter((id) => id !== file.id) : [...chosen, file.id],
                            ),
                          )
                        }
                      />
                    </td>
                    <td class="file-name">
                      <bdi title={`${file.relativePath}${file.md5 ? `, md5 ${file.md5}` : ""}`}>{file.name}</bdi>
                    </td>
                    <td>
                      <Time at={file.dateUploaded} />
                    </td>
                    <td class="number">
                      <Bytes value={file.decryptedSize} />
                    </td>
                    <td>{file.owner}</td>
                    <td class="number">
                      <span class="row">
                        <Link
                          class="button small"
                          href={`/jobs/new?files=${part(file.id)}`}
                          aria-label={`New job with ${file.name}`}
                        >
                          <Plus size={16} class="icon" /> Job
                        </Link>
                        <a
                          class="button small"
                          href={fileHref(file.id)}
                          download={file.name}
                          aria-label={`Download ${file.name}`}
                        >
                          <Download size={16} class="icon" />
                        </a>
                      </span>
                    </td>
                  </tr>
                ))}
              </tbody>
            </Table>
            {last > 1 ? (
              <nav class="row" aria-label="Pages">
                <Button small disabled={number <= 1} onClick={() => go({ page: String(number - 1) })}>
                  Newer
                </Button>
                <span>
                  Page {number} of {grouped(last)}
                </span>
                <Button small disabled={!files.data!.next} onClick={() => go({ page: String(number + 1) })}>
                  Older
                </Button>
              </nav>
            ) : null}
          </>
        ) : null}
      </Panel>
      {going.length ? <Remove files={going} onClose={() => remove([])} onDone={() => choose(new Set())} /> : null}
    </div>
  );
}

function Search({ text, onSearch }: { text: string; onSearch: (text: string) => void }) {
  const [typed, type] = useState(text);
  useEffect(() => {
    if (typed === text) return;
    const timer = setTimeout(() => onSearch(typed), TYPING_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  return (
    <input
      class="input"
      type="search"
      aria-label="Search files by name"
      placeholder="Search"
      value={typed}
      onInput={(event) => type(event.currentTarget.value)}
      style={{ width: "220px" }}
    />
  );
}

/** What was begun, here or in another browser, and did not come to its end. */
function Interrupted() {
  const list = useGet<Page<Schemas["Upload"]>>("uploads/", undefined, { stale: 0 });
  const here = new Set(
    uploads.value.filter((each) => each.state !== "failed").map((each) => `${each.path}|${each.size}`),
  );
  const rows = (list.data?.results ?? []).filter(
    (each) => !here.has(`${each.relativePath || each.filename}|${each.size}`),
  );
  if (!rows.length) return null;
  return (
    <Panel title="Uploads that were interrupted">
      <p class="quiet">Choose the same file again above, and it goes on from where it was.</p>
      <Table label="Uploads that were interrupted">
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col" class="number">
              Here
            </th>
            <th scope="col" class="number">
              Of
            </th>
            <th scope="col">Kept until</th>
            <UnseenHead>Actions</UnseenHead>
          </tr>
        </thead>
        <tbody>
          {rows.map((each) => (
            <tr key={each.id}>
              <td>
                <bdi>{each.relativePath || each.filename}</bdi>
              </td>
              <td class="number">
                <Bytes value={each.offset} />
              </td>
              <td class="number">
                <Bytes value={each.size} />
              </td>
              <td>
                <Time at={each.expiresAt} relative />
              </td>
              <td class="number">
                <Button
                  small
                  onClick={async () => {
                    await api("DELETE", `uploads/${part(each.id)}/`, { headers: { "Tus-Resumable": "1.0.0" } }).catch(
                      (error: Error) => toast(error.message, "bad"),
                    );
                    changed("uploads/");
                  }}
                >
                  Forget
                </Button>
              </td>
            </tr>
          ))}
        </tbody>
      </Table>
    </Panel>
  );
}

function Remove({ files, onClose, onDone }: { files: StoredFile[]; onClose: () => void; onDone: () => void }) {
  return (
    <Confirm
      title={files.length === 1 ? `Delete ${files[0]!.name}?` : `Delete ${files.length} files?`}
      verb="Delete"
      isDanger
      onClose={onClose}
      onConfirm={async () => {
        const refused: string[] = [];
        for (const file of files) {
          await api("DELETE", `files/${part(file.id)}/`).catch((error: Error) =>
            refused.push(`${file.name}: ${error.message}`),
          );
        }
        changed("files/");
        onDone();
        if (refused.length)
          throw new Error(`${files.length - refused.length} of ${files.length} were deleted. ${refused.join(" ")}`);
        toast(files.length === 1 ? "The file was deleted." : `${files.length} files were deleted.`, "good");
      }}
    >
      <p>Jobs that are drafts and use it will not find it. Jobs that were submitted keep what they made of it.</p>
    </Confirm>
  );
}

/** Files of the library, to choose inputs from. */

import { useEffect, useState } from "preact/hooks";
import { useGet } from "../../api/queries";
import type { Page, StoredFile } from "../../api/types";
import { plural } from "../../lib/words";
import { Dialog } from "../../ui/dialog";
import { Button, Bytes, Empty, Failure, Skeleton, Time } from "../../ui/parts";
import { Table, UnseenHead } from "../../ui/scroll";
import { placeOf } from "./body";

const TYPING_MS = 250;
const MOST = 200;

type Props = {
  taken: ReadonlySet<string>;
  onChoose: (files: StoredFile[]) => void;
  onClose: () => void;
  isSingle?: boolean;
};

export function Picker({ taken, onChoose, onClose, isSingle }: Props) {
  const [typed, type] = useState("");
  const [search, look] = useState("");
  const [chosen, choose] = useState<ReadonlyMap<string, StoredFile>>(new Map());
  useEffect(() => {
    const timer = setTimeout(() => look(typed), TYPING_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  const files = useGet<Page<StoredFile>>("files/", { type_id: 1, search, page_size: MOST }, { keep: true });
  const rows = files.data?.results ?? [];
  const toggle = (file: StoredFile): void => {
    const next = new Map(isSingle ? [] : chosen);
    if (chosen.has(file.id)) next.delete(file.id);
    else next.set(file.id, file);
    choose(next);
  };
  return (
    <Dialog
      title="Choose from the library"
      isWide
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button
            kind="primary"
            why={chosen.size ? "" : "Nothing is chosen."}
            onClick={() => onChoose([...chosen.values()])}
          >
            Take {chosen.size || ""} {plural(chosen.size, "file")}
          </Button>
        </>
      }
    >
      <input
        class="input"
        type="search"
        aria-label="Search files by name"
        placeholder="Search"
        value={typed}
        onInput={(event) => type(event.currentTarget.value)}
      />
      {files.error ? <Failure error={files.error} what="The files" again={() => void files.refetch()} /> : null}
      {!files.data && !files.error ? <Skeleton /> : null}
      {files.data && !rows.length ? <Empty title={search ? "No file has this in its name" : "No files yet"} /> : null}
      {rows.length ? (
        <>
          <Table label="Files">
            <thead>
              <tr>
                <UnseenHead>Choose</UnseenHead>
                <th scope="col">Name</th>
                <th scope="col">Uploaded</th>
                <th scope="col" class="number">
                  Size
                </th>
              </tr>
            </thead>
            <tbody>
              {rows.map((file) => (
                <tr key={file.id} aria-selected={chosen.has(file.id) ? "true" : "false"}>
                  <td>
                    <input
                      type={isSingle ? "radio" : "checkbox"}
                      name="chosen"
                      aria-label={placeOf(file)}
                      disabled={taken.has(file.id)}
                      checked={chosen.has(file.id) || taken.has(file.id)}
                      onChange={() => toggle(file)}
                    />
                  </td>
                  <td>
                    <bdi>{placeOf(file)}</bdi>
                  </td>
                  <td>
                    <Time at={file.dateUploaded} />
                  </td>
                  <td class="number">
                    <Bytes value={file.decryptedSize} />
                  </td>
                </tr>
              ))}
            </tbody>
          </Table>
          {files.data && files.data.count > rows.length ? (
            <p class="quiet">The newest {MOST} are shown; search for others.</p>
          ) : null}
        </>
      ) : null}
    </Dialog>
  );
}

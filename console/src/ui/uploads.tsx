/** A place to drop files and folders, and how far they are. */

import { useRef, useState } from "preact/hooks";
import { bytes } from "../lib/format";
import { add, chosen, drop, dropped, pause, resume, uploads, type Upload } from "../lib/uploads";
import { CircleCheck, Pause, Play, RotateCcw, TriangleAlert, Upload as UploadIcon, X } from "./icons";
import { Button, Progress } from "./parts";
import { Window } from "./window";

const ROW = 36;
const MOST_SHOWN = 8; // rows, before the list scrolls

export function DropZone({ batch = "", disabled = "" }: { batch?: string; disabled?: string }) {
  const files = useRef<HTMLInputElement>(null);
  const folder = useRef<HTMLInputElement>(null);
  const [isOver, over] = useState(false);
  const take = (input: HTMLInputElement): void => {
    add(chosen(input.files), batch);
    input.value = "";
  };
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-element-interactions -- the buttons in it do the same
    <div
      role="group"
      aria-label="Upload"
      class={`drop-zone ${isOver ? "is-over" : ""}`}
      onDragOver={(event) => {
        event.preventDefault();
        over(true);
      }}
      onDragLeave={() => over(false)}
      onDrop={(event) => {
        event.preventDefault();
        over(false);
        if (!disabled && event.dataTransfer) void dropped(event.dataTransfer).then((found) => add(found, batch));
      }}
    >
      <UploadIcon size={20} class="icon" />
      <span>Drop files or folders here, or</span>
      <Button why={disabled} onClick={() => files.current!.click()}>
        Choose files
      </Button>
      <Button why={disabled} onClick={() => folder.current!.click()}>
        Choose a folder
      </Button>
      <input
        ref={files}
        type="file"
        multiple
        hidden
        aria-label="Files to upload"
        onChange={(event) => take(event.currentTarget)}
      />
      <input
        ref={folder}
        type="file"
        hidden
        aria-label="Folder to upload"
        {...{ webkitdirectory: true }}
        onChange={(event) => take(event.currentTarget)}
      />
    </div>
  );
}

export function UploadList({ batch }: { batch?: string }) {
  const mine = uploads.value.filter((each) => batch === undefined || each.batch === batch);
  if (!mine.length) return null;
  const done = mine.filter((each) => each.state === "done").length;
  const failed = mine.filter((each) => each.state === "failed").length;
  const isLost = mine.some((each) => each.state === "lost");
  return (
    <section aria-label="Uploads" class="stack-small">
      <div class="row" role="status">
        {done} of {mine.length} uploaded{failed ? `, ${failed} failed` : ""}
        {isLost ? ", waiting for the connection" : ""}
        {done ? (
          <Button
            small
            kind="plain"
            onClick={() => mine.filter((each) => each.state === "done").forEach((each) => drop(each.key))}
          >
            Clear what is done
          </Button>
        ) : null}
      </div>
      <div class="upload-rows" style={{ height: `${Math.min(mine.length, MOST_SHOWN) * ROW}px` }}>
        <Window count={mine.length} row={ROW} role="list" label="Uploads" render={(n) => <Row upload={mine[n]!} />} />
      </div>
    </section>
  );
}

function Row({ upload }: { upload: Upload }) {
  const { key, path, size, sent, state, error } = upload;
  return (
    <div role="listitem" class="upload-row">
      <span class="grow ellipsis" title={path}>
        <bdi>{path}</bdi>
      </span>
      {state === "failed" ? (
        <span class="ellipsis upload-error" title={error}>
          <TriangleAlert size={14} class="icon" /> {error}
        </span>
      ) : null}
      {state === "lost" ? <span class="quiet ellipsis">waiting for the connection</span> : null}
      {state === "done" ? (
        <span class="quiet row">
          <CircleCheck size={14} class="icon" /> uploaded
        </span>
      ) : (
        <Progress value={size ? sent / size : 0} label={`${path} sent`} />
      )}
      <span class="quiet nowrap number">{bytes(size)}</span>
      {state === "sending" || state === "waiting" || state === "lost" ? (
        <Button small kind="plain" icon={Pause} label={`Pause ${path}`} onClick={() => pause(key)} />
      ) : null}
      {state === "paused" ? (
        <Button small kind="plain" icon={Play} label={`Go on with ${path}`} onClick={() => resume(key)} />
      ) : null}
      {state === "failed" ? (
        <Button small kind="plain" icon={RotateCcw} label={`Try ${path} again`} onClick={() => resume(key)} />
      ) : null}
      <Button small kind="plain" icon={X} label={`Take ${path} off the list`} onClick={() => drop(key)} />
    </div>
  );
}

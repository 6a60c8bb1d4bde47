/** What one may do here and now. */

import { boot } from "../api/boot";
import { connection } from "./events";

/** Why nothing can be changed now; "" where it can. */
export function whyNot(): string {
  if (connection.value === "lost") return "There is no connection to the server.";
  return boot.value?.rights.canWrite ? "" : "Your role is to read only.";
}

// One GraphQL subscription over one WebSocket, in the protocol graphql-transport-ws.

import { refusalOf } from "./ask.js";

const PROTOCOL = "graphql-transport-ws";
const BEGIN_WITHIN_MS = 10_000;
const QUIET_MS = 20_000; // after so long without a word the other side is asked whether it is there
const ANSWER_WITHIN_MS = 5_000;

/**
 * Calls `heard(data)` for each payload. Resolves when Hark ends the subscription; rejects with a
 * `Refusal`, or with another error where the connection is lost or `signal` says to stop.
 */
export function subscribe(query, variables, { signal, heard }) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(
      `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/graphql`,
      PROTOCOL,
    );
    const say = (message) => socket.send(JSON.stringify(message));
    let timer = setTimeout(() => end(new Error("it takes too long to begin")), BEGIN_WITHIN_MS);
    const shut = () => socket.close();
    let over = false;

    function end(error = null) {
      if (over) return;
      over = true;
      clearTimeout(timer);
      // A browser complains of a socket that is closed before it is open.
      if (socket.readyState === WebSocket.CONNECTING) socket.addEventListener("open", shut);
      else shut();
      if (error) reject(error);
      else resolve();
    }

    /** A dead connection looks like a quiet one, and a browser cannot tell; a ping can. */
    function expectMore() {
      clearTimeout(timer);
      timer = setTimeout(() => {
        say({ type: "ping" });
        timer = setTimeout(() => end(new Error("nothing comes any more")), ANSWER_WITHIN_MS);
      }, QUIET_MS);
    }

    function take(message) {
      if (message.type === "connection_ack")
        say({ type: "subscribe", id: "1", payload: { query, variables } });
      else if (message.type === "ping") say({ type: "pong" });
      else if (message.type === "error") end(refusalOf(message.payload));
      else if (message.type === "complete") end();
      else if (message.type === "next") {
        if (message.payload.errors) end(refusalOf(message.payload.errors));
        else heard(message.payload.data);
      }
    }

    socket.addEventListener("open", () => over || say({ type: "connection_init" }));
    socket.addEventListener("message", ({ data }) => {
      if (over) return;
      expectMore();
      take(JSON.parse(data));
    });
    socket.addEventListener("close", ({ reason }) =>
      end(new Error(reason || "the connection is lost")),
    );
    signal.addEventListener("abort", () => end(signal.reason), { once: true });
    if (signal.aborted) end(signal.reason);
  });
}

// Follows an inbox by npm's graphql-ws: prints each event as a line of JSON, and goes on after the
// last one when the connection is lost.
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const [url, query, variables] = process.argv.slice(2);
const payload = { query, variables: JSON.parse(variables) };
const client = createClient({
  url,
  webSocketImpl: WebSocket,
  retryAttempts: 1_000,
  shouldRetry: () => true, // also when nobody listens for a moment
  retryWait: () => new Promise((resolve) => setTimeout(resolve, 10)),
});
client.subscribe(payload, {
  next: (result) => {
    console.log(JSON.stringify(result));
    payload.variables.since = result.data?.inboxEvents.cursor;
  },
  error: (error) => {
    console.log(JSON.stringify({ error: error.reason ?? error }));
    process.exit(1);
  },
  complete: () => process.exit(0),
});

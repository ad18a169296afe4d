// Follows an inbox by npm's graphql-sse: prints each event as a line of JSON, and goes on after the
// last one when the connection is lost.
import { createClient } from "graphql-sse";

const [url, query, variables] = process.argv.slice(2);
const request = { query, variables: JSON.parse(variables) };
const client = createClient({
  url,
  retryAttempts: 1_000,
  retry: () => new Promise((resolve) => setTimeout(resolve, 10)),
});
client.subscribe(request, {
  next: (result) => {
    console.log(JSON.stringify(result));
    request.variables.since = result.data?.inboxEvents.cursor;
  },
  error: (error) => {
    console.log(JSON.stringify({ error: String(error) }));
    process.exit(1);
  },
  complete: () => process.exit(0),
});

// The page that Hark shows a browser at /graphql; build.mjs bundles it.
import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import 'graphiql/graphiql.css';
import { createClient } from 'graphql-ws';
import { createRoot } from 'react-dom/client';

const url = location.origin + location.pathname;
const example = `# Ctrl-Enter runs this. The book on the left describes every field.
{
  getNotifications(userId: "user2") {
    id
    content
    createdAt
    status
  }
}
`;

const fetcher = createGraphiQLFetcher({
  url,
  // It connects when the first subscription is run, not before.
  wsClient: createClient({ url: url.replace(/^http/, 'ws'), lazy: true }),
});
const asked = new URLSearchParams(location.search).get('query') ?? undefined;
createRoot(document.getElementById('graphiql')).render(
  <GraphiQL fetcher={fetcher} query={asked} defaultQuery={example} />,
);

// Asks a server everything that the GraphQL-over-HTTP draft says of one, and prints what came of it:
//
//     node audit.mjs http://127.0.0.1:8080/graphql

import { auditServer } from 'graphql-http';

const results = await auditServer({ url: process.argv[2] });
console.log(JSON.stringify(results.map(({ id, name, status, reason }) => ({ id, name, status, reason }))));

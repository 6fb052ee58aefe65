// TimescaleDB's SQL behind a Unix socket, for the tests: PGlite (PostgreSQL in WebAssembly) built
// with TimescaleDB. There is one session, which all connections share, and everything is in memory:
// gone when standard input ends, which it also does when the test process dies.
//
//   node server.mjs /private/directory/.s.PGSQL.5432

import { PGlite } from "@electric-sql/pglite";
import { PGLiteSocketServer } from "@electric-sql/pglite-socket";
import { timescaledb } from "@electric-sql/pglite/timescaledb";

const db = await PGlite.create({ extensions: { timescaledb } });
const server = new PGLiteSocketServer({ db, path: process.argv[2], maxConnections: 10 });
await server.start();
console.log("ready");

process.stdin.resume();
process.stdin.on("end", async () => {
  await server.stop();
  await db.close();
  process.exit(0);
});

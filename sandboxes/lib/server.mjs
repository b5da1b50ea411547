// Pages and guests on 127.0.0.1, each response with the given headers; what is posted to /reports is `posted`.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { root } from './paths.mjs';

const TYPES = { html: 'text/html', mjs: 'text/javascript', js: 'text/javascript' };
/** Only what is named so is served. */
const SERVED = /^\/(dist|pages)\/\w+\.(html|m?js)$/;

export async function serve(headers) {
  let post;
  const posted = new Promise((resolve) => {
    post = resolve;
  });
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://host');
    if (pathname === '/reports' && request.method === 'POST') {
      post(await text(request));
      response.writeHead(204).end();
    } else if (SERVED.test(pathname)) {
      const type = `${TYPES[pathname.split('.').pop()]}; charset=utf-8`;
      response.writeHead(200, { 'content-type': type, ...headers }).end(readFileSync(join(root, pathname)));
    } else response.writeHead(404).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    posted,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

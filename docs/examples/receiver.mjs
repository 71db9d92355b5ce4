// A receiver of Countersign's callbacks, with nothing but Node.js.
//
// It checks each call's signature, takes each delivery once, and prints what it was told.
//
//     WEBHOOK_SECRET=whsec_… node receiver.mjs --certificate server.pem --key server.key --port 9443
//
// The certificate's authority must be one that the server trusts: the platform's, or one that is named
// in `delivery.extra_ca_file`.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { parseArgs } from 'node:util';

const BODY_BYTES_MAX = 1024 * 1024;
const CLOCK_SKEW_MAX = 5 * 60; // seconds

/** Whether `body`, a Buffer, was sent by whoever knows the secret, and lately (Standard Webhooks). */
export function isGenuine(secret, headers, body, now) {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  const id = headers['webhook-id'] ?? '';
  const sentAt = headers['webhook-timestamp'] ?? '';
  if (!/^\d+$/.test(sentAt) || Math.abs(now - Number(sentAt)) > CLOCK_SKEW_MAX) return false;
  const expected = createHmac('sha256', key).update(`${id}.${sentAt}.`).update(body).digest();
  // There are two signatures while a secret is changed: one of them must be ours.
  return (headers['webhook-signature'] ?? '').split(' ').some((signature) => {
    const given = Buffer.from(signature.replace(/^v1,/, ''), 'base64');
    return signature.startsWith('v1,') && given.length === expected.length && timingSafeEqual(given, expected);
  });
}

const seen = new Set(); // In earnest: a table with a unique key, in the same commit as what you do.

function receive(request, response) {
  const chunks = [];
  let length = 0;
  request.on('data', (chunk) => {
    length += chunk.length;
    if (length > BODY_BYTES_MAX) request.destroy();
    else chunks.push(chunk);
  });
  request.on('end', () => {
    const body = Buffer.concat(chunks);
    if (!isGenuine(process.env.WEBHOOK_SECRET, request.headers, body, Date.now() / 1000)) {
      return response.writeHead(401).end();
    }
    const id = request.headers['webhook-id'];
    if (!seen.has(id)) {
      seen.add(id);
      console.log(id, JSON.parse(body).data.resultCode);
    }
    response.writeHead(204).end(); // Only now: what is answered with 2xx is not sent again.
  });
}

const text = { type: 'string' };
const { values } = parseArgs({ options: { certificate: text, key: text, port: { ...text, default: '9443' } } });
const tls = { cert: readFileSync(values.certificate), key: readFileSync(values.key) };
const server = createServer(tls, receive);
server.listen(Number(values.port), '127.0.0.1', () => console.error('listening on', server.address().port));
